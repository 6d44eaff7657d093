# The service: `engram serve` as a user without rights, over an archive and an identity that are mounted.
#
#   docker run -p 8743:8743 -v /data:/data -v /secrets:/secrets:ro engram serve --archive /data/memories --listen 0.0.0.0:8743 \
#       --tls-cert /secrets/cert.pem --tls-key /secrets/key.pem --token-file /secrets/token
#
# /data holds the archive and, beside it, its keystore (memories.keys). Without TLS and a token the service listens on loopback only.
FROM python:3.12-slim-bookworm AS build
WORKDIR /src
COPY requirements.lock pyproject.toml README.md LICENSE ./
RUN python -m venv /opt/engram && /opt/engram/bin/pip install --no-cache-dir --require-hashes --no-deps -r requirements.lock
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
CMD ["serve", "--archive", "/data/memories", "--listen", "127.0.0.1:8743"]
