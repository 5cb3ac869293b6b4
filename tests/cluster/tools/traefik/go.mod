// Traefik's custom resource definitions, which are a file of its module.
module opencode-router/tests/cluster/tools/traefik

go 1.26.0

require github.com/traefik/traefik/v3 v3.7.13
