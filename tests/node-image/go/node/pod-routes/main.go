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
	"log"
	"os"
	"os/signal"
	"syscall"
	"time"

	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
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
	client, err := kubernetes.NewForConfig(config)
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

func run(ctx context.Context, client kubernetes.Interface, node, directory string) {
	factory := informers.NewSharedInformerFactory(client, 0)
	nodes := factory.Core().V1().Nodes()
	changed := make(chan struct{}, 1)
	mark := func() {
		select {
		case changed <- struct{}{}:
		default: // a pass is due already, and will see this change
		}
	}
	_, err := nodes.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { mark() },
		UpdateFunc: func(any, any) { mark() },
		DeleteFunc: func(any) { mark() },
	})
	if err != nil {
		log.Fatalf("pod-routes: cannot watch nodes: %v", err)
	}
	factory.Start(ctx.Done())
	factory.WaitForCacheSync(ctx.Done())

	last := ""
	for ctx.Err() == nil {
		wait := resync
		list, err := nodes.Lister().List(labels.Everything())
		if err == nil {
			var plan *plan
			if plan, err = planFor(node, list); err == nil {
				if text := plan.String(); text != last {
					log.Printf("pod-routes: %s", text)
					last = text
				}
				err = apply(plan, directory)
			}
		}
		if err != nil {
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
