// Loader loads a Kubernetes API server and says what that took: the one half of `cargo xtask bench apiserver`.
//
// It runs one phase after the other. Before and after each it prints a line of JSON and waits for a line on its
// standard input, so that whoever watches can read the CPU clocks of the processes in between:
//
//	{"begin":"create"}
//	{"end":"create","operations":20000,"seconds":4.2,"p50":0.0123,"p99":0.0301}
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// options are what the flags say.
type options struct {
	server    string
	token     string
	client    string
	workers   int
	objects   int
	namespace string
	phases    []string
}

// operation does one thing to the object of a number.
type operation func(ctx context.Context, number int) error

// target is a server as one kind of client sees it.
type target interface {
	// operation of a phase; nil for one that it does not know.
	operation(phase string) operation
}

func main() {
	var o options
	var phases string
	flag.StringVar(&o.server, "server", "", "URL of the API server")
	flag.StringVar(&o.token, "token", "", "bearer token")
	flag.StringVar(&o.client, "client", "client-go", "client-go or raw")
	flag.IntVar(&o.workers, "workers", 64, "operations at a time")
	flag.IntVar(&o.objects, "objects", 10000, "objects that each phase works on")
	flag.StringVar(&o.namespace, "namespace", "default", "where the objects live")
	flag.StringVar(&phases, "phases", "create,get,patch,apply,delete", "what to do, in this order")
	flag.Parse()
	o.phases = strings.Split(phases, ",")
	if err := run(o); err != nil {
		fmt.Fprintln(os.Stderr, "loader:", err)
		os.Exit(1)
	}
}

func run(o options) error {
	ctx := context.Background()
	var t target
	var err error
	switch o.client {
	case "client-go":
		t, err = newTyped(o)
	case "raw":
		t, err = newRaw(o)
	default:
		err = fmt.Errorf("there is no client %q", o.client)
	}
	if err != nil {
		return err
	}
	answers := bufio.NewScanner(os.Stdin)
	for _, phase := range o.phases {
		say(map[string]any{"begin": phase})
		answers.Scan()
		var result map[string]any
		switch phase {
		case "ready":
			result, err = ready(ctx, o)
		case "list":
			result, err = lists(ctx, o, 5)
		case "watch":
			result, err = watches(ctx, o, 1000, 200)
		default:
			operation := t.operation(phase)
			if operation == nil {
				return fmt.Errorf("there is no phase %q", phase)
			}
			result, err = load(ctx, o, operation)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", phase, err)
		}
		result["end"] = phase
		say(result)
		answers.Scan()
	}
	return nil
}

func say(line map[string]any) {
	text, err := json.Marshal(line)
	if err != nil {
		panic(err) // maps of strings and numbers
	}
	fmt.Println(string(text))
}

// load does an operation once for each object, a number of them at a time.
func load(ctx context.Context, o options, do operation) (map[string]any, error) {
	taken := make([]time.Duration, o.objects)
	var next atomic.Int64
	var failed atomic.Pointer[error]
	var workers sync.WaitGroup
	start := time.Now()
	for range o.workers {
		workers.Go(func() {
			for failed.Load() == nil {
				number := int(next.Add(1)) - 1
				if number >= o.objects {
					return
				}
				before := time.Now()
				if err := do(ctx, number); err != nil {
					failed.CompareAndSwap(nil, &err)
					return
				}
				taken[number] = time.Since(before)
			}
		})
	}
	workers.Wait()
	seconds := time.Since(start).Seconds()
	if err := failed.Load(); err != nil {
		return nil, *err
	}
	p50, p99 := quantiles(taken)
	return map[string]any{"operations": o.objects, "seconds": seconds, "p50": p50, "p99": p99}, nil
}

// quantiles of durations, in seconds.
func quantiles(taken []time.Duration) (p50, p99 float64) {
	sort.Slice(taken, func(i, j int) bool { return taken[i] < taken[j] })
	at := func(share float64) float64 { return taken[int(share*float64(len(taken)-1))].Seconds() }
	return at(0.5), at(0.99)
}
