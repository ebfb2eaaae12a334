# docker build -f deploy/Dockerfile -t shardman .
# docker build -f deploy/oracle.Dockerfile -t shardman-oracle .
#
# The manager's image with the oracle in it. The model is mounted, and named by
# ORACLE.

FROM rust:1-slim AS build
WORKDIR /src
COPY . .
RUN cargo build --release --locked --package shardman-oracle

FROM shardman
COPY --from=build /src/target/release/shardman-oracle /usr/local/bin/shardman-oracle
ENV ORACLE_LISTEN=0.0.0.0:8000
EXPOSE 8000
