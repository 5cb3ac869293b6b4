// The custom resource definitions of the Prometheus Operator; none of its programs is built.
module opencode-router/tests/cluster/tools/prometheus-crds

go 1.26.0

require github.com/prometheus-operator/prometheus-operator v0.85.0
