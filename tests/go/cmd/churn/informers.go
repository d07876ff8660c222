package main

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/metadata/metadatainformer"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
)

// watcher is an informer, and what it has to agree with.
type watcher struct {
	name     string
	informer cache.SharedIndexInformer
	events   atomic.Int64
	// versions lists the collection: key to resource version.
	versions func(context.Context) (map[string]string, error)
}

// watchAll starts an informer of each kind of client: typed, dynamic and of metadata only.
func watchAll(ctx context.Context, config *rest.Config) ([]*watcher, error) {
	typed, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	untyped, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	partial, err := metadata.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	ofTyped := informers.NewSharedInformerFactoryWithOptions(typed, 0, informers.WithNamespace(namespace))
	ofDynamic := dynamicinformer.NewFilteredDynamicSharedInformerFactory(untyped, 0, namespace, nil)
	ofMetadata := metadatainformer.NewFilteredSharedInformerFactory(partial, 0, namespace, nil)
	listWidgets := func(ctx context.Context) (map[string]string, error) {
		list, err := untyped.Resource(widgets).Namespace(namespace).List(ctx, metav1.ListOptions{FieldSelector: "metadata.name!=none"})
		if err != nil {
			return nil, err
		}
		versions := map[string]string{}
		for _, item := range list.Items {
			versions[item.GetName()] = item.GetResourceVersion()
		}
		return versions, nil
	}
	listConfigMaps := func(ctx context.Context) (map[string]string, error) {
		list, err := typed.CoreV1().ConfigMaps(namespace).List(ctx, metav1.ListOptions{FieldSelector: "metadata.name!=none"})
		if err != nil {
			return nil, err
		}
		versions := map[string]string{}
		for _, item := range list.Items {
			versions[item.GetName()] = item.GetResourceVersion()
		}
		return versions, nil
	}
	watchers := []*watcher{
		{name: "typed ConfigMaps", informer: ofTyped.Core().V1().ConfigMaps().Informer(), versions: listConfigMaps},
		{name: "dynamic Widgets", informer: ofDynamic.ForResource(widgets).Informer(), versions: listWidgets},
		{name: "metadata of Widgets", informer: ofMetadata.ForResource(widgets).Informer(), versions: listWidgets},
	}
	for _, w := range watchers {
		count := cache.ResourceEventHandlerFuncs{
			AddFunc:    func(any) { w.events.Add(1) },
			UpdateFunc: func(any, any) { w.events.Add(1) },
			DeleteFunc: func(any) { w.events.Add(1) },
		}
		if _, err := w.informer.AddEventHandler(count); err != nil {
			return nil, err
		}
	}
	ofTyped.Start(ctx.Done())
	ofDynamic.Start(ctx.Done())
	ofMetadata.Start(ctx.Done())
	for _, w := range watchers {
		synced, stop := context.WithTimeout(ctx, 30*time.Second)
		ok := cache.WaitForCacheSync(synced.Done(), w.informer.HasSynced)
		stop()
		if !ok {
			return nil, fmt.Errorf("the informer of %s does not sync", w.name)
		}
	}
	return watchers, nil
}

func eventsOf(watchers []*watcher) map[string]int64 {
	events := map[string]int64{}
	for _, w := range watchers {
		events[w.name] = w.events.Load()
	}
	return events
}

// differs says how the informer's cache is not what the server lists.
func (w *watcher) differs(ctx context.Context) error {
	listed, err := w.versions(ctx)
	if err != nil {
		return err
	}
	cached := w.informer.GetStore().List()
	if len(cached) != len(listed) {
		return fmt.Errorf("the informer of %s has %d objects of %d", w.name, len(cached), len(listed))
	}
	for _, item := range cached {
		object, ok := item.(metav1.Object)
		if !ok {
			return fmt.Errorf("the informer of %s has a %T", w.name, item)
		}
		if version := listed[object.GetName()]; version != object.GetResourceVersion() {
			return fmt.Errorf("the informer of %s has %s at %q instead of %q", w.name, object.GetName(), object.GetResourceVersion(), version)
		}
	}
	return nil
}
