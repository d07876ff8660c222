package main

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// nodes reads lines of "name, internal addresses, pod CIDRs"; lists are separated by spaces.
func nodes(lines ...string) []*corev1.Node {
	var result []*corev1.Node
	for _, line := range lines {
		fields := strings.Split(line, ",")
		node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: fields[0]}}
		node.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeHostName, Address: fields[0]}}
		for _, address := range strings.Fields(fields[1]) {
			node.Status.Addresses = append(node.Status.Addresses,
				corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: address})
		}
		node.Spec.PodCIDRs = strings.Fields(fields[2])
		result = append(result, node)
	}
	return result
}

func TestPlan(t *testing.T) {
	for _, test := range []struct {
		name  string
		nodes []*corev1.Node
		want  string
	}{
		{
			"alone", nodes("me, 10.0.0.1, 10.244.0.0/24"),
			"pods here: [10.244.0.0/24]",
		},
		{
			"routes to others, in order", nodes(
				"c, 10.0.0.3, 10.244.2.0/24", "me, 10.0.0.1, 10.244.0.0/24", "b, 10.0.0.2, 10.244.1.0/24"),
			"pods here: [10.244.0.0/24], 10.244.1.0/24 via 10.0.0.2, 10.244.2.0/24 via 10.0.0.3",
		},
		{
			"both families", nodes(
				"me, 10.0.0.1 fd00::1, 10.244.0.0/24 fd00:1::/64", "b, fd00::2 10.0.0.2, 10.244.1.0/24 fd00:1:0:1::/64"),
			"pods here: [10.244.0.0/24 fd00:1::/64], 10.244.1.0/24 via 10.0.0.2, fd00:1:0:1::/64 via fd00::2",
		},
		{
			"no route to a node without an address or without pods", nodes(
				"me, 10.0.0.1, 10.244.0.0/24", "b, , 10.244.1.0/24", "c, 10.0.0.3, ", "d, fd00::4, 10.244.3.0/24"),
			"pods here: [10.244.0.0/24]",
		},
	} {
		plan, err := planFor("me", test.nodes)
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
		} else if got := plan.String(); got != test.want {
			t.Errorf("%s:\n got %s\nwant %s", test.name, got, test.want)
		}
	}
}

// Masquerading spares the pods of all nodes, whether a route leads there or not.
func TestPlanKnowsAllPods(t *testing.T) {
	plan, err := planFor("me", nodes("b, , 10.244.1.0/24", "me, 10.0.0.1, 10.244.0.0/24"))
	if err != nil {
		t.Fatal(err)
	}
	if len(plan.pods) != 2 || plan.pods[0].String() != "10.244.0.0/24" || plan.pods[1].String() != "10.244.1.0/24" {
		t.Errorf("got %v", plan.pods)
	}
}

func TestPlanNeedsPodCIDRs(t *testing.T) {
	for name, nodes := range map[string][]*corev1.Node{
		"no pod CIDR": nodes("me, 10.0.0.1, "),
		"me has no":   nodes("b, 10.0.0.2, 10.244.1.0/24"),
		"10.244":      nodes("me, 10.0.0.1, 10.244"),
	} {
		if _, err := planFor("me", nodes); err == nil || !strings.Contains(err.Error(), "me") {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestConflist(t *testing.T) {
	text, err := conflist([]netip.Prefix{netip.MustParsePrefix("10.244.0.0/24"), netip.MustParsePrefix("fd00:1::/64")})
	if err != nil {
		t.Fatal(err)
	}
	var read struct {
		Plugins []struct {
			Type string
			Ipam struct {
				Ranges [][]struct{ Subnet string }
				Routes []struct{ Dst string }
			}
		}
	}
	if err := json.Unmarshal(text, &read); err != nil {
		t.Fatal(err)
	}
	ipam := read.Plugins[0].Ipam
	if len(read.Plugins) != 2 || read.Plugins[0].Type != "bridge" || read.Plugins[1].Type != "portmap" {
		t.Errorf("plugins: %s", text)
	}
	// One list for each family: addresses of all lists are given to each pod.
	if len(ipam.Ranges) != 2 || ipam.Ranges[0][0].Subnet != "10.244.0.0/24" || ipam.Ranges[1][0].Subnet != "fd00:1::/64" {
		t.Errorf("ranges: %s", text)
	}
	if len(ipam.Routes) != 2 || ipam.Routes[0].Dst != "0.0.0.0/0" || ipam.Routes[1].Dst != "::/0" {
		t.Errorf("routes: %s", text)
	}
}
