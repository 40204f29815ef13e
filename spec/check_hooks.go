package spec

import (
	"strconv"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// hooks checks hooks (config.md, "POSIX-platform Hooks").
func (c *checker) hooks(h *specs.Hooks) {
	if h == nil {
		return
	}
	//lint:ignore SA1019 deprecated, but still in the specification
	c.hookList("hooks.prestart", h.Prestart)
	c.hookList("hooks.createRuntime", h.CreateRuntime)
	c.hookList("hooks.createContainer", h.CreateContainer)
	c.hookList("hooks.startContainer", h.StartContainer)
	c.hookList("hooks.poststart", h.Poststart)
	c.hookList("hooks.poststop", h.Poststop)
}

func (c *checker) hookList(path string, hooks []specs.Hook) {
	for i := range hooks {
		h := &hooks[i]
		c.absolute(at(path, i, "path"), h.Path)
		if h.Timeout != nil && *h.Timeout <= 0 {
			c.faultAt(at(path, i, "timeout"), "must be greater than 0 (got "+strconv.Itoa(*h.Timeout)+")")
		}
		for j, a := range h.Args {
			c.nul(at(path, i, "args").in(j, ""), a)
		}
		for j, e := range h.Env {
			c.nul(at(path, i, "env").in(j, ""), e)
		}
	}
}
