# The base of both stages, pinned by its digest; scripts/image takes the same variable from the environment.
ARG TES_IMAGE_BASE=python:3.11-slim-bookworm@sha256:a36c24f9cbdf4fd0f52d67f0823eeac19c2028c637cecc392d97f980d4fec56b

FROM ${TES_IMAGE_BASE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
# A compiler, in this stage only. Python's headers are a package of Debian's only where Python itself is one.
RUN export DEBIAN_FRONTEND=noninteractive \
 && apt-get update -qq \
 && apt-get install -qq --yes --no-install-recommends gcc libc6-dev >/dev/null \
 && { test -e "$(python3 -c 'import sysconfig; print(sysconfig.get_path("include"))')/Python.h" \
      || apt-get install -qq --yes --no-install-recommends python3-dev >/dev/null; } \
 && rm -rf /var/lib/apt/lists/*
COPY requirements/image-build.txt /build/requirements/
RUN python3 -m venv /build/tools && /build/tools/bin/pip install --quiet --require-hashes -r /build/requirements/image-build.txt
COPY requirements/image.txt /build/requirements/
# Every source is hashed, and so is what builds those that are no wheels: no isolated environment fetches anything.
RUN /build/tools/bin/pip wheel --quiet --require-hashes --no-build-isolation --wheel-dir /build/wheels \
      -r /build/requirements/image.txt
# The types of the product are checked before it is compiled, and with them what it makes of these packages.
RUN /build/tools/bin/pip install --quiet --no-deps --no-index --no-compile /build/wheels/*.whl
COPY pyproject.toml setup.py build_backend.py compiled.txt README.md LICENSE /build/product/
COPY docs/reference/tes.1 /build/product/docs/reference/
COPY streams /build/product/streams
COPY schemas /build/product/schemas
# Modules that were compiled before of the same source may be mounted at /build/compiled. Where this Python can load them
# they are taken, and nothing is compiled.
# olefile brings a module for Python 2 beside its own, which nothing imports.
RUN set -- /build/compiled/*"$(python3 -c 'import sysconfig; print(sysconfig.get_config_var("EXT_SUFFIX"))')" \
 && { test -e "$1" && compile=0 || compile=1; } \
 && COMPILE=$compile /build/tools/bin/python -m build --wheel --no-isolation --outdir /build/wheels /build/product >/dev/null \
 && python3 -m venv --without-pip /opt/tes \
 && /build/tools/bin/pip --python /opt/tes/bin/python install --quiet --no-deps --no-index --no-compile /build/wheels/*.whl \
 && { test $compile = 1 || cp -r /build/compiled/. /opt/tes/lib/python3*/site-packages/; } \
 && /build/tools/bin/cyclonedx-py environment --output-reproducible --of JSON --sv 1.6 --mc-type application \
      --pyproject /build/product/pyproject.toml -o /opt/tes/sbom.cdx.json /opt/tes/bin/python \
 && python3 -m compileall -q -x 'olefile/olefile2\.py$' --invalidation-mode unchecked-hash /opt/tes/lib

FROM ${TES_IMAGE_BASE}
LABEL org.opencontainers.image.title="tes" \
      org.opencontainers.image.description="Transport-based enforcement: judge, throttle and block mail from unpatched Exchange servers" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /opt/tes /opt/tes
# Only the state folder and /tmp are written to; the root file system may be read-only.
RUN echo 'tes:x:10001:' >> /etc/group \
 && echo 'tes:x:10001:10001::/var/lib/tes:/usr/sbin/nologin' >> /etc/passwd \
 && mkdir -p /var/lib/tes \
 && chown 10001:10001 /var/lib/tes
ENV PATH=/opt/tes/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    TES_STATE_DIR=/var/lib/tes
USER 10001:10001
WORKDIR /var/lib/tes
VOLUME /var/lib/tes
EXPOSE 6066
STOPSIGNAL SIGTERM
ENTRYPOINT ["tes"]
CMD ["--help"]
