# The locked environment and the workflow in one image:
#
#     docker build --tag analogpipe .
#     docker run --rm --user "$(id -u):$(id -g)" --volume "$PWD:/work" analogpipe                     the quick profile
#     docker run --rm --user "$(id -u):$(id -g)" --volume "$PWD:/work" analogpipe --config profile=mitigation
#     docker run --rm --entrypoint analogpipe analogpipe schedule --help                           the command itself
#
# Results appear in the folder from which it runs. The project's tests do not build this image; they check that what
# it copies exists, that its Python is the lock's and that its commands work without it (tests/workflow/test_container.py).
FROM python:3.11-slim

WORKDIR /opt/analogpipe

# First what changes seldom: an edit of the sources then reuses this layer of several gigabytes (torch with CUDA).
COPY requirements.lock ./
RUN python -m pip install --no-cache-dir --no-deps --require-hashes --requirement requirements.lock

COPY LICENSE README.md pyproject.toml environment.yml Snakefile ./
COPY config config
COPY profiles profiles
COPY workflow workflow
COPY src src
RUN python -m pip install --no-cache-dir --no-deps --no-build-isolation --editable .

# For a user whom the image does not know: a name, and a home that takes caches.
ENV HOME=/tmp USER=analogpipe MPLBACKEND=agg
WORKDIR /work
ENTRYPOINT ["snakemake", "--snakefile", "/opt/analogpipe/Snakefile"]
