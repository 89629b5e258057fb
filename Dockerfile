# streamasr serve on a CPU.   docker build -t streamasr . && docker run -p 2700:2700 streamasr
FROM python:3.12-slim-bookworm AS wheel
RUN pip install --no-cache-dir build
WORKDIR /source
COPY . .
RUN python -m build --wheel --outdir /wheels

FROM python:3.12-slim-bookworm
# An index with builds of torch for CPUs, a tenth of the size: --build-arg PIP_EXTRA_INDEX_URL=…
ARG PIP_EXTRA_INDEX_URL
RUN --mount=type=bind,from=wheel,source=/wheels,target=/wheels \
    pip install --no-cache-dir "$(ls /wheels/*.whl)[serve]"
RUN useradd --create-home streamasr
USER streamasr
# Compiled once, here, and not at every start; Python's packages cannot be written to.
ENV NUMBA_CACHE_DIR=/home/streamasr/.cache/numba
RUN streamasr compile
EXPOSE 2700
HEALTHCHECK --start-period=30s CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:2700/healthz', timeout=3)"]
ENTRYPOINT ["streamasr", "serve"]
CMD ["--host", "0.0.0.0", "--port", "2700"]
