//go:build tools

// Package tools names the programs to build, so that go.mod and go.sum hold what they need and no more.
package tools

import (
	_ "github.com/summerwind/h2spec/cmd/h2spec"
)
