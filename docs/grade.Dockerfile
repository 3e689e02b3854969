# Grades a course of strangers, without network and as a user who can read no solutions; docs/teachers.md says how.
#   docker build -t mankit-grade -f docs/grade.Dockerfile .
FROM python:3.12-slim

ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONDONTWRITEBYTECODE=1
# the CPU wheels, without CUDA
RUN pip install torch torchvision --index-url https://download.pytorch.org/whl/cpu
COPY pyproject.toml README.md LICENSE* /build/
COPY data /build/data
COPY notebooks /build/notebooks
COPY mankit /build/mankit
# the lessons hold their solutions, and grading needs none of them but the course's own
RUN pip install /build && rm -rf /build /usr/local/lib/python3*/site-packages/mankit/_notebooks/*.ipynb

# only root enters here, and answers run as nobody
RUN mkdir -m 700 /srv/private
WORKDIR /srv/private
ENTRYPOINT ["mankit", "grade", "/srv/private/course", "--as-user", "nobody"]
