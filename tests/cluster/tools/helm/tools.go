//go:build tools

// Package tools names the programs to build, so that go.mod and go.sum hold what they need and no more.
package tools

import (
	_ "helm.sh/helm/v4/cmd/helm"
)
