package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// raw speaks HTTP with bodies made of text, and looks at nothing but the status: what is left of a loader when the
// client library is taken away.
type raw struct {
	http       *http.Client
	collection string
	base       string
	token      string
}

func newRaw(o options) (target, error) {
	transport := &http.Transport{
		TLSClientConfig:     insecure(),
		MaxIdleConnsPerHost: o.workers,
		DisableCompression:  true,
	}
	collection := o.server + "/api/v1/namespaces/" + o.namespace + "/configmaps"
	return raw{&http.Client{Transport: transport}, collection, o.server, o.token}, nil
}

// insecure trusts every certificate: the servers under measurement make their own.
func insecure() *tls.Config { return &tls.Config{InsecureSkipVerify: true} }

func (r raw) send(ctx context.Context, method, url, kind, body string) error {
	request, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Authorization", "Bearer "+r.token)
	request.Header.Set("User-Agent", "loader")
	if kind != "" {
		request.Header.Set("Content-Type", kind)
	}
	answer, err := r.http.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode >= 300 {
		text, _ := io.ReadAll(answer.Body)
		return fmt.Errorf("%s %s: %s: %s", method, url, answer.Status, text)
	}
	_, err = io.Copy(io.Discard, answer.Body)
	return err
}

func (r raw) operation(phase string) operation {
	object := func(number int) string { return r.collection + "/" + name(number) }
	switch phase {
	case "create":
		return func(ctx context.Context, number int) error {
			body := `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"` + name(number) +
				`","labels":{"app":"load"}},"data":{"payload":"` + payload + `","step":"create"}}`
			return r.send(ctx, "POST", r.collection, "application/json", body)
		}
	case "get":
		return func(ctx context.Context, number int) error { return r.send(ctx, "GET", object(number), "", "") }
	case "patch":
		return func(ctx context.Context, number int) error {
			return r.send(ctx, "PATCH", object(number), "application/merge-patch+json", `{"data":{"step":"patch"}}`)
		}
	case "apply":
		return func(ctx context.Context, number int) error {
			body := `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"` + name(number) +
				`"},"data":{"step":"apply"}}`
			url := object(number) + "?fieldManager=applier&force=true"
			return r.send(ctx, "PATCH", url, "application/apply-patch+yaml", body)
		}
	case "delete":
		return func(ctx context.Context, number int) error { return r.send(ctx, "DELETE", object(number), "", "") }
	case "machines":
		return r.machine
	}
	return nil
}

// machine creates a Machine of Cluster API that takes about 4.4 KB as JSON.
func (r raw) machine(ctx context.Context, number int) error {
	url := r.base + "/apis/cluster.x-k8s.io/v1beta2/namespaces/default/machines"
	var body bytes.Buffer
	fmt.Fprintf(&body, `{"apiVersion":"cluster.x-k8s.io/v1beta2","kind":"Machine","metadata":{"name":"machine-%06d",`, number)
	fmt.Fprintf(&body, `"labels":{"cluster.x-k8s.io/cluster-name":"cluster-%04d"},"annotations":{"note":"%s"}},`,
		number/20, strings.Repeat("machine ", 385))
	fmt.Fprintf(&body, `"spec":{"clusterName":"cluster-%04d","version":"v1.35.4","providerID":"load:////%d",`, number/20, number)
	body.WriteString(`"bootstrap":{"dataSecretName":"data"},"infrastructureRef":{"apiGroup":"infrastructure.cluster.x-k8s.io",` +
		`"kind":"DevMachine","name":"machine"}}}`)
	return r.send(ctx, "POST", url, "application/json", body.String())
}

// lists reads all objects as one JSON document, to the last byte.
func lists(ctx context.Context, o options, times int) (map[string]any, error) {
	target, err := newRaw(o)
	if err != nil {
		return nil, err
	}
	r := target.(raw)
	taken := make([]time.Duration, 0, times)
	var size int64
	start := time.Now()
	for range times {
		request, err := http.NewRequestWithContext(ctx, "GET", r.collection, nil)
		if err != nil {
			return nil, err
		}
		request.Header.Set("Authorization", "Bearer "+o.token)
		request.Header.Set("Accept", "application/json")
		before := time.Now()
		answer, err := r.http.Do(request)
		if err != nil {
			return nil, err
		}
		size, err = io.Copy(io.Discard, answer.Body)
		answer.Body.Close()
		if err != nil {
			return nil, err
		}
		if answer.StatusCode != http.StatusOK {
			return nil, fmt.Errorf("the list was refused: %s", answer.Status)
		}
		taken = append(taken, time.Since(before))
	}
	seconds := time.Since(start).Seconds()
	p50, p99 := quantiles(taken)
	return map[string]any{"operations": times, "seconds": seconds, "p50": p50, "p99": p99, "bytes": size}, nil
}

// ready asks for the namespace and a page of its objects until it gets both: how long a server takes to start.
// Nothing listens at first, and a new server makes the namespace late.
func ready(ctx context.Context, o options) (map[string]any, error) {
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: insecure()}, Timeout: time.Second}
	namespace := o.server + "/api/v1/namespaces/" + o.namespace
	found := func(url string) bool {
		request, err := http.NewRequestWithContext(ctx, "GET", url, nil)
		if err != nil {
			return false
		}
		request.Header.Set("Authorization", "Bearer "+o.token)
		answer, err := client.Do(request)
		if err != nil {
			return false
		}
		defer answer.Body.Close()
		_, err = io.Copy(io.Discard, answer.Body)
		return err == nil && answer.StatusCode == http.StatusOK
	}
	start := time.Now()
	for time.Since(start) < 2*time.Minute {
		if found(namespace) && found(namespace+"/configmaps?limit=1") {
			return map[string]any{"operations": 1, "seconds": time.Since(start).Seconds(), "p50": 0, "p99": 0}, nil
		}
		time.Sleep(2 * time.Millisecond)
	}
	return nil, fmt.Errorf("%s does not answer", o.server)
}
