package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
	"time"
)

// perConnection is how many watches share a connection.
const perConnection = 100

// delivery is how one write reached the watchers.
type delivery struct {
	sent    atomic.Int64
	last    atomic.Int64
	missing atomic.Int64
}

// watches opens watches of the ConfigMaps of a namespace and writes an object again and again, with a pause in
// between; it measures from sending each write to the moment when the last watcher has it.
func watches(ctx context.Context, o options, watchers, writes int) (map[string]any, error) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	target, err := newRaw(o)
	if err != nil {
		return nil, err
	}
	r := target.(raw)
	if err := r.operation("create")(ctx, 0); err != nil {
		return nil, err
	}
	deliveries := make([]delivery, writes)
	failed := make(chan error, watchers)
	var open atomic.Int64
	for group := range watchers / perConnection {
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: insecure(), ForceAttemptHTTP2: true}}
		for i := range perConnection {
			go func() {
				// All at once would be a handshake each; one stream opens the connection first.
				time.Sleep(time.Duration(group)*20*time.Millisecond + time.Duration(min(i, 1))*300*time.Millisecond)
				failed <- watch(ctx, client, r, deliveries, &open)
			}()
		}
	}
	for open.Load() < int64(watchers) {
		select {
		case err := <-failed:
			return nil, err
		case <-time.After(10 * time.Millisecond):
		}
	}
	start := time.Now()
	for i := range writes {
		deliveries[i].missing.Store(int64(watchers))
		deliveries[i].sent.Store(time.Now().UnixNano())
		patch := fmt.Sprintf(`{"data":{"step":"%d"}}`, i)
		if err := r.send(ctx, "PATCH", r.collection+"/"+name(0), "application/merge-patch+json", patch); err != nil {
			return nil, err
		}
		time.Sleep(50 * time.Millisecond)
	}
	taken := make([]time.Duration, 0, writes)
	for i := range deliveries {
		for deliveries[i].missing.Load() > 0 {
			select {
			case err := <-failed:
				return nil, err
			case <-time.After(10 * time.Millisecond):
			}
			if time.Since(start) > 5*time.Minute {
				return nil, fmt.Errorf("write %d has not reached %d watchers", i, deliveries[i].missing.Load())
			}
		}
		taken = append(taken, time.Duration(deliveries[i].last.Load()-deliveries[i].sent.Load()))
	}
	seconds := time.Since(start).Seconds()
	p50, p99 := quantiles(taken)
	if err := r.operation("delete")(ctx, 0); err != nil {
		return nil, err
	}
	return map[string]any{"operations": writes * watchers, "seconds": seconds, "p50": p50, "p99": p99}, nil
}

// watch counts the events of one watch: the first is the object as it was, then one a write.
func watch(ctx context.Context, client *http.Client, r raw, deliveries []delivery, open *atomic.Int64) error {
	request, err := http.NewRequestWithContext(ctx, "GET", r.collection+"?watch=1&resourceVersion=0", nil)
	if err != nil {
		return err
	}
	request.Header.Set("Authorization", "Bearer "+r.token)
	answer, err := client.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(answer.Body)
		return fmt.Errorf("the watch was refused: %s: %s", answer.Status, text)
	}
	lines := bufio.NewReaderSize(answer.Body, 4096)
	seen := -1
	for {
		if err := line(lines); err != nil {
			return fmt.Errorf("a watch ended after %d events: %w", seen+1, err)
		}
		if seen < 0 {
			open.Add(1)
		} else if seen < len(deliveries) {
			d := &deliveries[seen]
			now := time.Now().UnixNano()
			for last := d.last.Load(); last < now && !d.last.CompareAndSwap(last, now); last = d.last.Load() {
			}
			d.missing.Add(-1)
		}
		seen++
	}
}

// line reads to the end of a line without keeping it.
func line(from *bufio.Reader) error {
	for {
		_, err := from.ReadSlice('\n')
		if err != bufio.ErrBufferFull {
			return err
		}
	}
}
