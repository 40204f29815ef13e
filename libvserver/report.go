package libvserver

import (
	"github.com/vsrun/vsrun/libvserver/cgroup"
	"github.com/vsrun/vsrun/libvserver/log"
	"github.com/vsrun/vsrun/libvserver/plan"
	"github.com/vsrun/vsrun/libvserver/state"
	"github.com/vsrun/vsrun/spec"
)

// Report is what `state` prints.
func (r *Runtime) Report(id string) (*state.Report, error) {
	rec, err := r.Store.Load(id)
	if rec == nil {
		return nil, err
	}
	rep := r.Store.Report(rec, r.frozen)
	r.annotateOOM(&rep, rec)
	return &rep, nil
}

// List reports on all containers under the root. Damaged ones are told of in the log.
func (r *Runtime) List() ([]state.Report, error) {
	list, warnings, err := r.Store.List(r.frozen)
	for _, w := range warnings {
		log.Warnf("%v", w)
	}
	return list, err
}

// Explain plans the launch of a bundle and carries nothing out.
func (r *Runtime) Explain(bundle, configFile string) (*plan.Plan, error) {
	b, err := spec.Load(bundle, configFile)
	if err != nil {
		return nil, err
	}
	origins, err := presets(b)
	if err != nil {
		return nil, err
	}
	o := cgroup.Options{ID: "ID", Systemd: r.SystemdCgroup, Rootless: r.rootless(), Disabled: r.CgroupDisabled, Annotations: b.Spec.Annotations, Origins: origins}
	if l := b.Spec.Linux; l != nil {
		o.Path, o.Resources, o.Devices = l.CgroupsPath, l.Resources, l.Devices
	}
	cg, err := cgroup.New(o)
	if err != nil {
		return nil, err
	}
	opt := plan.Options{ID: "ID", Wait: true, SystemdCgroup: cg.NeedsPid(), NoCgroup: cg.Driver() == cgroup.DriverNone}
	f := facts(b, cg)
	if f.Landlock, _, err = landlockFacts(b, ""); err != nil {
		return nil, err
	}
	return plan.Build(b, f, &opt)
}
