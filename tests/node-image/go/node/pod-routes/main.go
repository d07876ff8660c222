// pod-routes is the network of the test clusters: it lets pods of different
// nodes reach each other where all nodes share a link.
//
// On its node it writes the CNI configuration for the node's pod CIDRs, and
// keeps a route to the pod CIDRs of every other node through that node's
// internal address. What pods send to the outside leaves under the node's
// address; what they send to pods and Services keeps theirs.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
)

const (
	// What somebody else removed (a restarted network, a flushed table) is put back after this time.
	resync = 30 * time.Second
	// A failed application is tried again after this time.
	retry = time.Second
)

func main() {
	log.SetFlags(0)
	node := flag.String("node", os.Getenv("NODE_NAME"), "name of this node")
	kubeconfig := flag.String("kubeconfig", "", "file to reach the API server with; without it, the pod's own account")
	directory := flag.String("cni-dir", "/etc/cni/net.d", "where the CNI configuration is written")
	flag.Parse()
	if *node == "" {
		log.Fatal("pod-routes: the node's name is missing: give --node or set NODE_NAME")
	}
	config, err := clientConfig(*kubeconfig)
	if err != nil {
		log.Fatalf("pod-routes: cannot configure the client: %v", err)
	}
	client, err := coreClient(config)
	if err != nil {
		log.Fatalf("pod-routes: cannot make the client: %v", err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	run(ctx, client, *node, *directory)
}

// clientConfig prefers the address in a kubeconfig that exists: the Service address
// of the API server is of no use before kube-proxy runs, and kube-proxy's own
// kubeconfig names an address that is.
func clientConfig(kubeconfig string) (*rest.Config, error) {
	if kubeconfig != "" {
		if _, err := os.Stat(kubeconfig); err == nil {
			return clientcmd.BuildConfigFromFlags("", kubeconfig)
		}
	}
	return rest.InClusterConfig()
}

// coreClient speaks of the core objects only: the clientset of all groups would be most of this program.
func coreClient(config *rest.Config) (rest.Interface, error) {
	scheme := runtime.NewScheme()
	if err := corev1.AddToScheme(scheme); err != nil {
		return nil, err
	}
	config.APIPath = "/api"
	config.GroupVersion = &corev1.SchemeGroupVersion
	config.NegotiatedSerializer = serializer.NewCodecFactory(scheme).WithoutConversion()
	return rest.RESTClientFor(config)
}

func run(ctx context.Context, client rest.Interface, node, directory string) {
	changed := make(chan struct{}, 1)
	mark := func() {
		select {
		case changed <- struct{}{}:
		default: // a pass is due already, and will see this change
		}
	}
	store, controller := cache.NewInformerWithOptions(cache.InformerOptions{
		ListerWatcher: cache.NewListWatchFromClient(client, "nodes", "", fields.Everything()),
		ObjectType:    &corev1.Node{},
		Handler: cache.ResourceEventHandlerFuncs{
			AddFunc:    func(any) { mark() },
			UpdateFunc: func(any, any) { mark() },
			DeleteFunc: func(any) { mark() },
		},
	})
	go controller.RunWithContext(ctx)
	cache.WaitForCacheSync(ctx.Done(), controller.HasSynced)

	last := ""
	for ctx.Err() == nil {
		wait := resync
		if err := pass(node, store.List(), directory, &last); err != nil {
			log.Printf("pod-routes: %v", err)
			wait = retry
		}
		select {
		case <-ctx.Done():
		case <-changed:
		case <-time.After(wait):
		}
	}
}

// pass brings the node to what the nodes known now ask for, and says so when that has changed.
func pass(node string, known []any, directory string, last *string) error {
	var nodes []*corev1.Node
	for _, object := range known {
		node, ok := object.(*corev1.Node)
		if !ok {
			return fmt.Errorf("the API server listed a %T among the nodes", object)
		}
		nodes = append(nodes, node)
	}
	plan, err := planFor(node, nodes)
	if err != nil {
		return err
	}
	if text := plan.String(); text != *last {
		log.Printf("pod-routes: %s", text)
		*last = text
	}
	return apply(plan, directory)
}
