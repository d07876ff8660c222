package main

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// route leads to the pods of another node.
type route struct {
	to  netip.Prefix
	via netip.Addr
}

// plan is everything that a node needs, worked out from the nodes alone.
type plan struct {
	// own are the pod CIDRs of this node.
	own []netip.Prefix
	// pods are the pod CIDRs of all nodes.
	pods []netip.Prefix
	// routes lead to the other nodes.
	routes []route
}

func (p *plan) String() string {
	var text strings.Builder
	fmt.Fprintf(&text, "pods here: %v", p.own)
	for _, route := range p.routes {
		fmt.Fprintf(&text, ", %v via %v", route.to, route.via)
	}
	return text.String()
}

// planFor says what the node of this name needs. That the node has no pod CIDR yet is an error,
// to be tried again.
func planFor(name string, nodes []*corev1.Node) (*plan, error) {
	result := &plan{}
	for _, node := range nodes {
		prefixes, err := podCIDRs(node)
		if err != nil {
			return nil, err
		}
		result.pods = append(result.pods, prefixes...)
		if node.Name == name {
			result.own = prefixes
			continue
		}
		for _, prefix := range prefixes {
			// A node that has no address of this family yet gets its route when it has.
			if via, ok := internalAddress(node, prefix.Addr().Is4()); ok {
				result.routes = append(result.routes, route{to: prefix, via: via})
			}
		}
	}
	if len(result.own) == 0 {
		return nil, fmt.Errorf("node %s has no pod CIDR yet: the controller manager assigns it (--allocate-node-cidrs)", name)
	}
	slices.SortFunc(result.pods, comparePrefixes)
	slices.SortFunc(result.routes, func(a, b route) int { return comparePrefixes(a.to, b.to) })
	return result, nil
}

func comparePrefixes(a, b netip.Prefix) int {
	return a.Addr().Compare(b.Addr())
}

func podCIDRs(node *corev1.Node) ([]netip.Prefix, error) {
	var prefixes []netip.Prefix
	for _, text := range node.Spec.PodCIDRs {
		prefix, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, fmt.Errorf("node %s: pod CIDR %q: %w", node.Name, text, err)
		}
		prefixes = append(prefixes, prefix.Masked())
	}
	return prefixes, nil
}

func internalAddress(node *corev1.Node, wantIPv4 bool) (netip.Addr, bool) {
	for _, address := range node.Status.Addresses {
		if address.Type != corev1.NodeInternalIP {
			continue
		}
		if parsed, err := netip.ParseAddr(address.Address); err == nil && parsed.Is4() == wantIPv4 {
			return parsed, true
		}
	}
	return netip.Addr{}, false
}

// conflist is the CNI configuration of a node whose pods have addresses in these CIDRs.
func conflist(own []netip.Prefix) ([]byte, error) {
	type object = map[string]any
	var ranges, routes []any
	for _, prefix := range own {
		ranges = append(ranges, []any{object{"subnet": prefix.String()}})
		all := "0.0.0.0/0"
		if prefix.Addr().Is6() {
			all = "::/0"
		}
		routes = append(routes, object{"dst": all})
	}
	return json.MarshalIndent(object{
		"cniVersion": "0.4.0",
		"name":       "pod-routes",
		"plugins": []any{
			object{
				"type":        "bridge",
				"bridge":      "cni0",
				"isGateway":   true,
				"hairpinMode": true,
				"ipam":        object{"type": "host-local", "ranges": ranges, "routes": routes},
			},
			object{"type": "portmap", "capabilities": object{"portMappings": true}},
		},
	}, "", "  ")
}
