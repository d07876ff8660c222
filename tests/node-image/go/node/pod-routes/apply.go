package main

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const (
	// Routes of this protocol number are ours: stale ones are found and removed by it.
	routeProtocol netlink.RouteProtocol = 177
	tableName                           = "pod-routes"
	fileName                            = "10-pod-routes.conflist"
)

// apply brings the node to the plan. The CNI configuration comes last: the node is Ready
// for pods once it is there.
func apply(plan *plan, directory string) error {
	if err := applyRoutes(plan.routes); err != nil {
		return err
	}
	if err := applyMasquerade(plan); err != nil {
		return err
	}
	text, err := conflist(plan.own)
	if err != nil {
		return fmt.Errorf("cannot write the CNI configuration: %w", err)
	}
	return writeFile(filepath.Join(directory, fileName), text)
}

// writeFile replaces a file at once, so that nobody reads half of it, and only if it differs.
func writeFile(path string, text []byte) error {
	if present, err := os.ReadFile(path); err == nil && bytes.Equal(present, text) {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("cannot write the CNI configuration: %w", err)
	}
	temporary := path + ".new"
	if err := os.WriteFile(temporary, text, 0o644); err != nil {
		return fmt.Errorf("cannot write the CNI configuration: %w", err)
	}
	if err := os.Rename(temporary, path); err != nil {
		return fmt.Errorf("cannot write the CNI configuration: %w", err)
	}
	return nil
}

func applyRoutes(routes []route) error {
	wanted := map[netip.Prefix]bool{}
	var failed []error
	for _, route := range routes {
		wanted[route.to] = true
		err := netlink.RouteReplace(&netlink.Route{
			Dst:      ipNet(route.to),
			Gw:       route.via.AsSlice(),
			Protocol: routeProtocol,
		})
		if err != nil {
			failed = append(failed, fmt.Errorf("cannot set the route to %v via %v: %w", route.to, route.via, err))
		}
	}
	present, err := netlink.RouteListFiltered(
		netlink.FAMILY_ALL, &netlink.Route{Protocol: routeProtocol}, netlink.RT_FILTER_PROTOCOL)
	if err != nil {
		return errors.Join(append(failed, fmt.Errorf("cannot list routes: %w", err))...)
	}
	for _, route := range present {
		if route.Dst == nil || wanted[prefixOf(route.Dst)] {
			continue
		}
		if err := netlink.RouteDel(&route); err != nil && !errors.Is(err, unix.ESRCH) {
			failed = append(failed, fmt.Errorf("cannot remove the route to %v: %w", route.Dst, err))
		}
	}
	return errors.Join(failed...)
}

func ipNet(prefix netip.Prefix) *net.IPNet {
	return &net.IPNet{
		IP:   prefix.Addr().AsSlice(),
		Mask: net.CIDRMask(prefix.Bits(), prefix.Addr().BitLen()),
	}
}

func prefixOf(network *net.IPNet) netip.Prefix {
	address, _ := netip.AddrFromSlice(network.IP)
	bits, _ := network.Mask.Size()
	return netip.PrefixFrom(address.Unmap(), bits)
}

// applyMasquerade writes one table of nftables anew, in one transaction: packets from a pod of
// this node to something that is neither a pod nor this node leave under the node's address.
func applyMasquerade(plan *plan) error {
	connection, err := nftables.New()
	if err != nil {
		return fmt.Errorf("cannot talk to nftables: %w", err)
	}
	for _, family := range []struct {
		family nftables.TableFamily
		is4    bool
	}{{nftables.TableFamilyIPv4, true}, {nftables.TableFamilyIPv6, false}} {
		own, pods := ofFamily(plan.own, family.is4), ofFamily(plan.pods, family.is4)
		if len(own) == 0 {
			continue
		}
		table := &nftables.Table{Family: family.family, Name: tableName}
		// Adding before deleting makes the deletion succeed when there was none.
		connection.AddTable(table)
		connection.DelTable(table)
		connection.AddTable(table)
		chain := connection.AddChain(&nftables.Chain{
			Name:     "postrouting",
			Table:    table,
			Type:     nftables.ChainTypeNAT,
			Hooknum:  nftables.ChainHookPostrouting,
			Priority: nftables.ChainPriorityNATSource,
		})
		// Pod to pod is done with here; what comes from elsewhere falls through all rules.
		for _, prefix := range pods {
			rule := match(destination, prefix)
			connection.AddRule(&nftables.Rule{
				Table: table, Chain: chain, Exprs: append(rule, &expr.Verdict{Kind: expr.VerdictReturn}),
			})
		}
		connection.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: notLocal()})
		for _, prefix := range own {
			rule := match(source, prefix)
			connection.AddRule(&nftables.Rule{
				Table: table, Chain: chain, Exprs: append(rule, &expr.Masq{}),
			})
		}
	}
	if err := connection.Flush(); err != nil {
		return fmt.Errorf("cannot set the masquerading rules: %w", err)
	}
	return nil
}

func ofFamily(prefixes []netip.Prefix, is4 bool) []netip.Prefix {
	var kept []netip.Prefix
	for _, prefix := range prefixes {
		if prefix.Addr().Is4() == is4 {
			kept = append(kept, prefix)
		}
	}
	return kept
}

type field int

const (
	source field = iota
	destination
)

// match compares an address of the packet's header with a prefix.
func match(field field, prefix netip.Prefix) []expr.Any {
	// Offsets in the headers of RFC 791 and RFC 8200.
	offset, length := uint32(12), uint32(4)
	if prefix.Addr().Is6() {
		offset, length = 8, 16
	}
	if field == destination {
		offset += length
	}
	return []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: length},
		&expr.Bitwise{
			SourceRegister: 1, DestRegister: 1, Len: length,
			Mask: net.CIDRMask(prefix.Bits(), int(length)*8), Xor: make([]byte, length),
		},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: prefix.Masked().Addr().AsSlice()},
	}
}

// notLocal leaves alone what goes to an address of this node, and to groups.
func notLocal() []expr.Any {
	return []expr.Any{
		&expr.Fib{Register: 1, FlagDADDR: true, ResultADDRTYPE: true},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: binaryutil.NativeEndian.PutUint32(unix.RTN_UNICAST)},
		&expr.Verdict{Kind: expr.VerdictReturn},
	}
}
