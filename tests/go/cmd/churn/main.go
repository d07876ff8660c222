// Churn works a Kubernetes API server the way other people's controllers do: informers of client-go, and managers of
// controller-runtime with leader election, webhooks, finalizers and server-side apply, over objects that come, change
// and go all the time. In the end it checks that nobody missed anything and that no informer had to list again.
//
// It prints one line of JSON, and fails with what was wrong.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
)

func main() {
	var server, token string
	var duration time.Duration
	var verbose bool
	flag.StringVar(&server, "server", "", "URL of the API server")
	flag.StringVar(&token, "token", "", "an administrator's bearer token")
	flag.DurationVar(&duration, "duration", time.Minute, "how long to work")
	flag.BoolVar(&verbose, "verbose", false, "let client-go and controller-runtime log")
	flag.Parse()
	if verbose {
		ctrl.SetLogger(klog.Background())
	} else {
		klog.SetLogger(logr.Discard())
		ctrl.SetLogger(logr.Discard())
	}
	report, err := run(server, token, duration)
	if report != nil {
		text, _ := json.Marshal(report)
		fmt.Println(string(text))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "churn:", err)
		os.Exit(1)
	}
}

// report is what was done and seen.
type report struct {
	Created      int64            `json:"created"`
	Changed      int64            `json:"changed"`
	Deleted      int64            `json:"deleted"`
	Reconciled   int64            `json:"reconciled"`
	Refused      int64            `json:"refused"`
	Failovers    int              `json:"failovers"`
	Informers    int              `json:"informers"`
	Events       map[string]int64 `json:"events"`
	InitialLists int64            `json:"initialLists"`
	Relists      []string         `json:"relists"`
}

func run(server, token string, duration time.Duration) (*report, error) {
	ctx, stop := context.WithTimeout(context.Background(), duration+3*time.Minute)
	defer stop()
	requests := newRequests()
	config := func(agent string) *rest.Config {
		config := &rest.Config{
			Host:            server,
			BearerToken:     token,
			TLSClientConfig: rest.TLSClientConfig{Insecure: true},
			QPS:             -1,
			UserAgent:       agent,
		}
		config.Wrap(requests.count(agent))
		return config
	}
	hooks, err := newHooks()
	if err != nil {
		return nil, err
	}
	if err := define(ctx, config("churn-setup"), hooks); err != nil {
		return nil, fmt.Errorf("cannot set up: %w", err)
	}
	watchers, err := watchAll(ctx, config("churn-informers"))
	if err != nil {
		return nil, err
	}
	managers := newManagers(config, hooks)
	if err := managers.serveHooks(ctx); err != nil {
		return nil, err
	}
	first, second := managers.start(ctx), managers.start(ctx)
	work := newWork(config("churn-work"))
	if err := work.until(ctx, time.Now().Add(duration/2)); err != nil {
		return nil, err
	}
	// The leader goes without a word; the other one has to notice.
	failovers, err := managers.failOver(ctx, first, second)
	if err != nil {
		return nil, err
	}
	if err := work.until(ctx, time.Now().Add(duration/2)); err != nil {
		return nil, err
	}
	err = settle(ctx, work, watchers)
	r := &report{
		Created: work.created.Load(), Changed: work.changed.Load(), Deleted: work.deleted.Load(),
		Reconciled: managers.reconciled.Load(), Refused: work.refused.Load(), Failovers: failovers,
		Informers: len(watchers), Events: eventsOf(watchers),
		InitialLists: requests.initial(), Relists: requests.relists(),
	}
	if err != nil {
		return r, err
	}
	return r, r.check()
}

// check fails unless everything that was to be exercised was.
func (r *report) check() error {
	switch {
	case len(r.Relists) > 0:
		return fmt.Errorf("informers had to list again: %v", r.Relists)
	case r.Created < 50 || r.Changed < 50 || r.Deleted < 20:
		return fmt.Errorf("too little was done: %+v", r)
	case r.Reconciled < r.Created:
		return fmt.Errorf("%d reconciles for %d widgets", r.Reconciled, r.Created)
	case r.Refused == 0:
		return fmt.Errorf("the validating webhook refused nothing")
	case r.Failovers != 1:
		return fmt.Errorf("%d failovers", r.Failovers)
	}
	for name, events := range r.Events {
		if events == 0 {
			return fmt.Errorf("the informer of %s saw nothing", name)
		}
	}
	return nil
}
