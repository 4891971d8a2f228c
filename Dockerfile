# Ledgerline as an image:  docker build -t ledgerline .
FROM rust:1.95.0-bookworm AS build
WORKDIR /source
COPY . .
# Libraries of C are built from source with it; the program then needs the C library alone.
RUN cargo build --release --locked --bin ledgerline

FROM debian:12.12-slim
# Certificates of public authorities, for TLS to brokers that use one.
RUN apt-get update -q && apt-get install -q -y --no-install-recommends ca-certificates && rm -rf /var/lib/apt/lists/*
RUN useradd --system --uid 10001 --create-home --home-dir /var/lib/ledgerline ledgerline
COPY --from=build /source/target/release/ledgerline /usr/local/bin/ledgerline
# By number, so that a platform can see that it is not root. A new volume at its home takes over who owns that.
USER 10001
WORKDIR /var/lib/ledgerline
VOLUME /var/lib/ledgerline
EXPOSE 8480
# What the allocator keeps of the Kafka client's buffers: docs/OPERATIONS.md.
ENV MALLOC_ARENA_MAX=2 MALLOC_MMAP_THRESHOLD_=65536 MALLOC_TRIM_THRESHOLD_=131072
ENTRYPOINT ["ledgerline"]
CMD ["run"]
