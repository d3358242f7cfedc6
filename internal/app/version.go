package app

import "runtime/debug"

// Version is the version of this binary: the tag or pseudo-version that the Go
// toolchain took from the repository, "(devel)" when there was none.
func Version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "(devel)"
	}
	return info.Main.Version
}
