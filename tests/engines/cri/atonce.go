package main

import (
	"errors"
	"fmt"
	"sync"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// perPod is how many containers a pod of atOnce has.
const perPod = 10

// atOnce has n containers, in pods of ten, made, started, and removed at the same time.
func (c *client) atOnce(n int) {
	ns := &cri.NamespaceOption{Network: cri.NamespaceMode_POD, Pid: cri.NamespaceMode_CONTAINER}
	pods := make([]string, (n+perPod-1)/perPod)
	configs := make([]*cri.PodSandboxConfig, len(pods))
	ids := make([]string, n)
	c.step(fmt.Sprintf("%d pods at once", len(pods)), func() error {
		return together(len(pods), func(i int) error {
			configs[i] = c.config(fmt.Sprintf("many%d", i), ns)
			r, err := c.rt.RunPodSandbox(c.ctx, &cri.RunPodSandboxRequest{Config: configs[i], RuntimeHandler: *handler})
			pods[i] = r.GetPodSandboxId()
			return err
		})
	})
	c.step(fmt.Sprintf("%d containers at once", n), func() error {
		return together(n, func(i int) error {
			p := i / perPod
			if pods[p] == "" {
				return errors.New("its pod has failed")
			}
			id, err := c.create(pods[p], configs[p], fmt.Sprintf("c%d", i), ns, "sleep", "1000000")
			if err != nil {
				return err
			}
			ids[i] = id
			_, err = c.rt.StartContainer(c.ctx, &cri.StartContainerRequest{ContainerId: id})
			return err
		})
	})
	c.step(fmt.Sprintf("%d containers run", n), func() error {
		r, err := c.rt.ListContainers(c.ctx, &cri.ListContainersRequest{Filter: &cri.ContainerFilter{State: &cri.ContainerStateValue{State: cri.ContainerState_CONTAINER_RUNNING}}})
		if err == nil && len(r.Containers) != n {
			err = fmt.Errorf("%d of them", len(r.Containers))
		}
		return err
	})
	c.step(fmt.Sprintf("%d containers gone at once", n), func() error {
		return together(n, func(i int) error {
			if ids[i] == "" {
				return nil
			}
			if _, err := c.rt.StopContainer(c.ctx, &cri.StopContainerRequest{ContainerId: ids[i]}); err != nil {
				return err
			}
			_, err := c.rt.RemoveContainer(c.ctx, &cri.RemoveContainerRequest{ContainerId: ids[i]})
			return err
		})
	})
	c.step(fmt.Sprintf("%d pods gone at once", len(pods)), func() error {
		return together(len(pods), func(i int) error {
			if pods[i] == "" {
				return nil
			}
			if _, err := c.rt.StopPodSandbox(c.ctx, &cri.StopPodSandboxRequest{PodSandboxId: pods[i]}); err != nil {
				return err
			}
			_, err := c.rt.RemovePodSandbox(c.ctx, &cri.RemovePodSandboxRequest{PodSandboxId: pods[i]})
			return err
		})
	})
}

// together calls f for 0 to n-1 at the same time, and returns the first three of its errors.
func together(n int, f func(int) error) error {
	all := make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { all[i] = f(i) })
	}
	wg.Wait()
	var failed []error
	for i, err := range all {
		if err != nil {
			failed = append(failed, fmt.Errorf("%d: %w", i, err))
		}
	}
	if len(failed) > 3 {
		failed = append(failed[:3], fmt.Errorf("and %d more", len(failed)-3))
	}
	return errors.Join(failed...)
}
