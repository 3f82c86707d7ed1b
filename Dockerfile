# The dashboard and the commands on a CPU, with the locked versions (docs/install.md):
#   docker build -t dpo-workbench .
#   docker run --init -p 127.0.0.1:8050:8050 -v dpo-runs:/home/dpo/runs dpo-workbench
ARG PYTHON_VERSION=3.11

FROM python:${PYTHON_VERSION}-slim AS build
WORKDIR /src
COPY pyproject.toml poetry.lock README.md LICENSE NOTICE ./
COPY scripts/constraints.py scripts/
COPY assets assets
COPY configs configs
COPY docs docs
COPY dpo dpo
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /dist . && python scripts/constraints.py > /dist/constraints.txt

FROM python:${PYTHON_VERSION}-slim
# PyTorch's CPU build, a fifth of the CUDA one in size; another index of wheels: --build-arg TORCH_INDEX=...
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
COPY --from=build /dist /dist
RUN pip install --no-cache-dir --constraint /dist/constraints.txt --extra-index-url "$TORCH_INDEX" /dist/*.whl
RUN useradd --create-home --uid 1000 dpo && install --directory --owner dpo /home/dpo/runs /home/dpo/data
USER dpo
WORKDIR /home/dpo
# Runs and votes outlive the container.
VOLUME /home/dpo/runs
EXPOSE 8050
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8050/', timeout=4)"]
ENTRYPOINT ["dpo"]
# Inside a container every address is another machine's, so the server cannot tell this machine from the network: who gets
# in is decided by what is published. The line above publishes to this machine only; for a network give --auth instead
# (docs/install.md).
CMD ["serve", "--host", "0.0.0.0", "--no-auth"]
