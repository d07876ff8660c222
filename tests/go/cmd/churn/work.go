package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// names is how many Widgets there are at most.
const names = 40

// work is who makes, changes and deletes Widgets.
type work struct {
	widgets                            dynamic.ResourceInterface
	core                               kubernetes.Interface
	created, changed, deleted, refused atomic.Int64
}

func newWork(config *rest.Config) *work {
	return &work{
		widgets: dynamic.NewForConfigOrDie(config).Resource(widgets).Namespace(namespace),
		core:    kubernetes.NewForConfigOrDie(config),
	}
}

func (w *work) until(ctx context.Context, end time.Time) error {
	for time.Now().Before(end) {
		if err := w.step(ctx); err != nil {
			return err
		}
		time.Sleep(5 * time.Millisecond)
	}
	return nil
}

// step does one thing to one Widget. Whatever another one did meanwhile is no error.
func (w *work) step(ctx context.Context) error {
	name := fmt.Sprintf("widget-%02d", rand.IntN(names))
	switch rand.IntN(10) {
	case 0, 1, 2, 3:
		_, err := w.widgets.Create(ctx, widget(name, rand.Int64N(100)), metav1.CreateOptions{})
		return w.count(&w.created, err)
	case 4, 5, 6:
		patch := fmt.Sprintf(`{"spec":{"size":%d}}`, rand.Int64N(100))
		_, err := w.widgets.Patch(ctx, name, types.MergePatchType, []byte(patch), metav1.PatchOptions{})
		return w.count(&w.changed, err)
	case 7:
		_, err := w.widgets.Create(ctx, widget("refused", -1), metav1.CreateOptions{})
		if err != nil && strings.Contains(err.Error(), "widgets have no negative size") {
			w.refused.Add(1)
			return nil
		}
		return fmt.Errorf("a widget of negative size: %w", err)
	case 8:
		policy := metav1.DeletePropagationForeground
		return w.count(&w.deleted, w.widgets.Delete(ctx, name, metav1.DeleteOptions{PropagationPolicy: &policy}))
	default:
		return w.count(&w.deleted, w.widgets.Delete(ctx, name, metav1.DeleteOptions{}))
	}
}

func widget(name string, size int64) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "churn.example.dev/v1", "kind": "Widget",
		"metadata": map[string]any{"name": name}, "spec": map[string]any{"size": size},
	}}
}

func (w *work) count(counter *atomic.Int64, err error) error {
	switch {
	case err == nil:
		counter.Add(1)
		return nil
	case apierrors.IsNotFound(err), apierrors.IsAlreadyExists(err), apierrors.IsConflict(err):
		return nil
	}
	return err
}

// settle waits until controllers and informers have nothing left to do, and says what is missing if they do not get
// there.
func settle(ctx context.Context, w *work, watchers []*watcher) error {
	var missing error
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(200 * time.Millisecond) {
		missing = settled(ctx, w)
		for _, watcher := range watchers {
			if missing == nil {
				missing = watcher.differs(ctx)
			}
		}
		if missing == nil {
			return nil
		}
	}
	return missing
}

func settled(ctx context.Context, w *work) error {
	list, err := w.widgets.List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	children, err := w.core.CoreV1().ConfigMaps(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	owned := map[string]map[string]string{}
	for _, child := range children.Items {
		if len(child.OwnerReferences) > 0 {
			owned[child.Name] = child.Data
		}
	}
	if len(owned) != len(list.Items) {
		return fmt.Errorf("there are %d children of %d widgets", len(owned), len(list.Items))
	}
	for _, item := range list.Items {
		color, _, _ := unstructured.NestedString(item.Object, "spec", "color")
		observed, _, _ := unstructured.NestedInt64(item.Object, "status", "observedGeneration")
		data := owned[item.GetName()]
		if observed != item.GetGeneration() || data["generation"] != fmt.Sprint(observed) || data["color"] != color {
			return fmt.Errorf("%s is at generation %d, observed %d, its child says %v", item.GetName(), item.GetGeneration(), observed, data)
		}
	}
	return nil
}
