# docker build -t trunkline .
FROM rust:1.95-slim-bookworm AS build
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev make cmake pkg-config && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN cargo build --locked --profile dist --bin trunkline

FROM debian:12-slim
# The local voice and recogniser, and the roots of trust for providers.
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates espeak-ng flite libpocketsphinx3 pocketsphinx-en-us \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --system --uid 10001 --create-home --home-dir /var/lib/trunkline trunkline \
 && mkdir -p /etc/trunkline
COPY --from=build /src/target/dist/trunkline /usr/local/bin/trunkline
COPY config/server.toml /etc/trunkline/server.toml
USER trunkline
WORKDIR /var/lib/trunkline
VOLUME /var/lib/trunkline
# SIP, the HTTP API. The RTP range (media.rtp_ports, UDP 16384-32767) wants `--network host`.
EXPOSE 5060/udp 5060/tcp 8080/tcp
# Asks /healthz with the shell alone; the port is api.bind's.
HEALTHCHECK --interval=15s --timeout=3s --start-period=5s \
  CMD ["bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/8080 && printf 'GET /healthz HTTP/1.0\\r\\nHost: localhost\\r\\n\\r\\n' >&3 && head -n 1 <&3 | grep -q ' 200 '"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["trunkline"]
CMD ["serve", "--config", "/etc/trunkline/server.toml"]
