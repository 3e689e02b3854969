"""mankit: supervised local learning (back-propagation, DGL, InfoPro, MAN) to build, vary and measure.

The names of the library, each loaded (and torch with it) when it is first used; __init__.pyi says where they live.
The wings are imported by their own names: `from mankit.studies import Recipe`, `from mankit import lab`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
