package main

import (
	"fmt"
	"net/http"
	"sort"
	"strings"
	"sync"
)

// requests counts the lists that informers make: the first of each is how it begins, each further one is a re-list.
type requests struct {
	sync.Mutex
	lists map[string]int
}

func newRequests() *requests { return &requests{lists: map[string]int{}} }

// count wraps the transport of one client. Only informers list whole collections with these agents.
func (r *requests) count(agent string) func(http.RoundTripper) http.RoundTripper {
	return func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(request *http.Request) (*http.Response, error) {
			if key := listed(request); key != "" && strings.HasPrefix(agent, "churn-inf") || key != "" && strings.HasPrefix(agent, "churn-manager") {
				r.Lock()
				r.lists[agent+" "+key]++
				r.Unlock()
			}
			return next.RoundTrip(request)
		})
	}
}

// listed says which collection a request reads from the beginning: a list, its first page, or a watch that begins
// with all there is.
func listed(request *http.Request) string {
	if request.Method != http.MethodGet {
		return ""
	}
	query := request.URL.Query()
	parts := strings.Split(strings.Trim(request.URL.Path, "/"), "/")
	collection := len(parts) == 3 && parts[0] == "api" || len(parts) == 5 && parts[0] == "api" && parts[2] == "namespaces" ||
		len(parts) == 4 && parts[0] == "apis" || len(parts) == 6 && parts[0] == "apis" && parts[3] == "namespaces"
	if !collection || query.Get("continue") != "" || query.Get("fieldSelector") != "" {
		return ""
	}
	if query.Get("watch") != "" && query.Get("sendInitialEvents") != "true" {
		return ""
	}
	accept := "objects"
	if strings.Contains(request.Header.Get("Accept"), "PartialObjectMetadata") {
		accept = "metadata"
	}
	return request.URL.Path + " " + accept
}

func (r *requests) initial() int64 {
	r.Lock()
	defer r.Unlock()
	return int64(len(r.lists))
}

func (r *requests) relists() []string {
	r.Lock()
	defer r.Unlock()
	again := []string{}
	for key, times := range r.lists {
		if times > 1 {
			again = append(again, fmt.Sprintf("%s: %d times", key, times))
		}
	}
	sort.Strings(again)
	return again
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(request *http.Request) (*http.Response, error) { return f(request) }
