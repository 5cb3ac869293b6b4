//go:build tools

// Package tools names the programs to build, so that go.mod and go.sum hold what they need and no more.
package tools

import (
	_ "go.etcd.io/etcd/server/v3"
	_ "k8s.io/kubernetes/cmd/kube-apiserver"
	_ "k8s.io/kubernetes/cmd/kubectl"
)
