# What the whole chain needs, apart from the images of the router and of sessions. Sourced; needs build.sh.

# Builds programs and images, and exports their names.
chain_needs() {
  local target=${CARGO_TARGET_DIR:-$project/target}
  TEST_OPERATOR_IMAGE=$("$here/images" build operator)
  TEST_COREDNS_IMAGE=$("$here/images" build coredns)
  TEST_TRAEFIK_IMAGE=$("$here/images" build traefik)
  TEST_OAUTH2_PROXY_IMAGE=$("$here/images" build oauth2-proxy)
  TEST_TRAEFIK_CRDS=$(bin_of traefik)/traefik-crds.yaml
  # All packages, as in `make test`: other features would build everything once more.
  (cd "$project" && cargo build --locked --quiet --workspace --all-features --bin opencode-router --example cloudflare-stand-in)
  CLOUDFLARE_STAND_IN_BIN=$target/debug/examples/cloudflare-stand-in
  export TEST_OPERATOR_IMAGE TEST_COREDNS_IMAGE TEST_TRAEFIK_IMAGE TEST_OAUTH2_PROXY_IMAGE TEST_TRAEFIK_CRDS CLOUDFLARE_STAND_IN_BIN
}
