# Grades a course of strangers, without network and as a user who can read no solutions; docs/teachers.md says how.
#   docker build -t mankit-grade -f docs/grade.Dockerfile .
FROM python:3.12-slim

ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONDONTWRITEBYTECODE=1
# the CPU wheels, without CUDA
RUN pip install torch torchvision --index-url https://download.pytorch.org/whl/cpu
COPY pyproject.toml README.md LICENSE* /tmp/mankit/
COPY data /tmp/mankit/data
COPY notebooks /tmp/mankit/notebooks
COPY mankit /tmp/mankit/mankit
# the lessons hold their solutions, and grading needs none of them but the course's own
RUN pip install /tmp/mankit && rm -rf /tmp/mankit /usr/local/lib/python3*/site-packages/mankit/_notebooks/*.ipynb

# only root enters /root, and answers run as nobody
RUN chmod 700 /root
WORKDIR /root
ENTRYPOINT ["mankit", "grade", "/root/course", "--as-user", "nobody"]
