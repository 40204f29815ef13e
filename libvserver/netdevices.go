package libvserver

import (
	"fmt"

	"github.com/vsrun/vsrun/libvserver/log"
	"github.com/vsrun/vsrun/libvserver/netdev"
)

// moveNetDevices moves the devices of linux.netDevices into the container.
func (n *creation) moveNetDevices() error {
	if len(n.plan.NetDevices) == 0 {
		return nil
	}
	list := make([]netdev.Device, len(n.plan.NetDevices))
	for i, d := range n.plan.NetDevices {
		list[i] = netdev.Device{At: d.At(), Host: d.Host, Name: d.Name}
	}
	m, err := netdev.Move(n.process.PID, list)
	if err == netdev.ErrHostNetwork {
		return fmt.Errorf("linux.netDevices: %w", err)
	}
	n.devices = m
	return err
}

// returnNetDevices takes back what a creation that has failed had moved; a container that has been made keeps its devices.
func (n *creation) returnNetDevices() {
	if n.devices == nil {
		return
	}
	if err := n.devices.Return(); err != nil {
		log.Warnf("network devices of the failed container: %v", err)
	}
}
