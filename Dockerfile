# The service: `engram serve` as a user without rights, over an archive and an identity that are mounted.
#
#   docker run -p 8743:8743 -v /data/memories:/archive -v /secrets:/secrets:ro engram \
#       --archive /archive serve --listen 0.0.0.0:8743 --tls-cert /secrets/cert.pem --tls-key /secrets/key.pem --token-file /secrets/token
FROM python:3.12-slim-bookworm AS build
WORKDIR /src
COPY requirements.lock pyproject.toml README.md LICENSE ./
RUN python -m venv /opt/engram && /opt/engram/bin/pip install --no-cache-dir --require-hashes -r requirements.lock
COPY proto proto
COPY archive_format archive_format
COPY replay replay
COPY server server
COPY client client
RUN /opt/engram/bin/pip install --no-cache-dir --no-deps --no-build-isolation .

FROM python:3.12-slim-bookworm
RUN useradd --system --uid 10001 --create-home engram
COPY --from=build /opt/engram /opt/engram
ENV PATH=/opt/engram/bin:$PATH PYTHONUNBUFFERED=1 ENGRAM_IDENTITY=/secrets/identity.txt
USER engram
EXPOSE 8743
STOPSIGNAL SIGTERM
ENTRYPOINT ["engram"]
CMD ["--archive", "/archive", "serve", "--listen", "127.0.0.1:8743"]
