# One image for every process: `docker run … pointsman api|worker|schedule|migrate`. Settings: docs/configuration.md.
FROM python:3.13-slim AS build
WORKDIR /build
RUN python -m venv /opt/pointsman
# What runs: every version and hash is locked. Without development tools and the embedded servers.
COPY requirements.production.lock ./
RUN /opt/pointsman/bin/pip install --no-cache-dir --no-deps --require-hashes -r requirements.production.lock
# Our own wheel. Only hatchling, which makes it, comes without a hash; it is not in the image.
COPY pyproject.toml README.md LICENSE ./
COPY api api
COPY cli cli
COPY shared shared
COPY worker worker
RUN pip wheel --no-cache-dir --no-deps --wheel-dir wheels . && \
    /opt/pointsman/bin/pip install --no-cache-dir --no-deps wheels/*.whl

FROM python:3.13-slim
RUN useradd --system --uid 10001 --no-create-home pointsman
COPY --from=build /opt/pointsman /opt/pointsman
ENV PATH=/opt/pointsman/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    POINTSMAN_LISTEN=0.0.0.0:4000
USER pointsman
EXPOSE 4000
# For the API, which is what starts by default; docker-compose.yml has one for each process.
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:4000/health/liveliness', timeout=4)"]
ENTRYPOINT ["pointsman"]
CMD ["api"]
