# docker build -t vltava . && docker run -p 9092:9092 -p 9123:9123 -p 9180:9180 -v data:/data vltava
FROM rust:1.95-slim-bookworm AS build
RUN apt-get update -qq \
    && apt-get install -y -qq --no-install-recommends build-essential libclang-dev \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /source
COPY Cargo.toml Cargo.lock ./
COPY protocol protocol
COPY storage storage
COPY tiering tiering
COPY broker broker
RUN cargo build --release --locked --package vltava

FROM debian:bookworm-slim
RUN useradd --system --create-home --home-dir /data vltava
COPY --from=build /source/target/release/vltava /usr/local/bin/vltava
COPY LICENSE /usr/share/doc/vltava/LICENSE
# Inside a container, loopback reaches nobody. Clients outside the host also need
# VLTAVA_ADVERTISED_LISTENERS with the host's name.
ENV VLTAVA_DATA_DIR=/data/log \
    VLTAVA_LISTENERS=PLAINTEXT://0.0.0.0:9092 \
    VLTAVA_BIND_LISTENERS=FLUSS://0.0.0.0:9123 \
    VLTAVA_HTTP_LISTEN=0.0.0.0:9180 \
    VLTAVA_LOG_FORMAT=json
USER vltava
VOLUME /data
EXPOSE 9092 9123 9180
STOPSIGNAL SIGTERM
ENTRYPOINT ["vltava"]
CMD ["serve"]
