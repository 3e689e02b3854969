# A class's image: CPU, under 2 GB, for Docker and JupyterHub; see docs/deploy.md.
#   docker build -t mankit .
FROM python:3.12-slim

# git: nbgitpuller; tini: ends what a stopped server leaves
RUN apt-get update && apt-get install --yes --no-install-recommends git tini && rm -rf /var/lib/apt/lists/*
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONDONTWRITEBYTECODE=1
# the CPU wheels first, in a layer of their own: without CUDA, and not again for each change of a lesson
RUN pip install torch torchvision --index-url https://download.pytorch.org/whl/cpu

# root's, and read-only: students work on a copy of the lessons in their home
COPY pyproject.toml README.md LICENSE* /srv/mankit/
COPY data /srv/mankit/data
COPY notebooks /srv/mankit/notebooks
COPY mankit /srv/mankit/mankit
RUN pip install "/srv/mankit[lab,hub]" && rm -rf /srv/mankit/build && mkdir /srv/data && chmod -R a-w,a+rX /srv
ENV MANKIT_DATA=/srv/data

RUN useradd --create-home --uid 1000 --shell /bin/bash jovyan
COPY --chmod=755 docs/start.sh /usr/local/bin/mankit-start
USER jovyan
EXPOSE 8888
ENTRYPOINT ["tini", "--", "mankit-start"]
CMD ["jupyterhub-singleuser"]
