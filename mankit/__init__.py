"""mankit: supervised local learning (back-propagation, DGL, InfoPro, MAN) to build, vary and measure."""
