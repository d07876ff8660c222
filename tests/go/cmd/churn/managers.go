package main

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	applycorev1 "k8s.io/client-go/applyconfigurations/core/v1"
	applymetav1 "k8s.io/client-go/applyconfigurations/meta/v1"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"
)

const finalizer = "churn.example.dev/child"

// managers are two of controller-runtime that want the same Lease.
type managers struct {
	config     func(agent string) *rest.Config
	hooks      *hooks
	started    int
	reconciled atomic.Int64
	// leader is the number of the manager that reconciled last.
	leader atomic.Int64
}

func newManagers(config func(string) *rest.Config, hooks *hooks) *managers {
	return &managers{config: config, hooks: hooks}
}

// serveHooks starts a third manager, which needs no Lease and only serves the webhooks: they stay while the others
// come and go, as a Service in front of all would make it look.
func (m *managers) serveHooks(ctx context.Context) error {
	manager, err := ctrl.NewManager(m.config("churn-hooks"), ctrl.Options{
		Scheme: scheme.Scheme, Metrics: server.Options{BindAddress: "0"}, WebhookServer: m.hooks.server(),
	})
	if err != nil {
		return err
	}
	register(manager.GetWebhookServer(), manager.GetScheme())
	go func() {
		// Ends with everything else.
		_ = manager.Start(ctx)
	}()
	return m.hooks.wait(ctx)
}

// running is a manager that was started.
type running struct {
	number int64
	stop   context.CancelFunc
	ended  chan error
}

// start starts a manager; it begins to work when it gets the Lease.
func (m *managers) start(ctx context.Context) *running {
	m.started++
	ctx, stop := context.WithCancel(ctx)
	r := &running{number: int64(m.started), stop: stop, ended: make(chan error, 1)}
	go func() { r.ended <- m.manage(ctx, r.number) }()
	return r
}

func (m *managers) manage(ctx context.Context, number int64) error {
	options := ctrl.Options{
		Scheme: scheme.Scheme, Metrics: server.Options{BindAddress: "0"},
		LeaderElection: true, LeaderElectionNamespace: namespace, LeaderElectionID: "churn",
		// The first one dies without giving the Lease back.
		LeaderElectionReleaseOnCancel: false,
		LeaseDuration:                 ptr(4 * time.Second), RenewDeadline: ptr(3 * time.Second), RetryPeriod: ptr(500 * time.Millisecond),
		Cache: cache.Options{DefaultNamespaces: map[string]cache.Config{namespace: {}}},
	}
	manager, err := ctrl.NewManager(m.config(fmt.Sprintf("churn-manager-%d", number)), options)
	if err != nil {
		return err
	}
	widget := &unstructured.Unstructured{}
	widget.SetGroupVersionKind(widgetKind)
	reconciler := &reconciler{Client: manager.GetClient(), managers: m, number: number}
	err = ctrl.NewControllerManagedBy(manager).Named(fmt.Sprintf("widget-%d", number)).
		For(widget).Owns(&corev1.ConfigMap{}).Complete(reconciler)
	if err != nil {
		return err
	}
	return manager.Start(ctx)
}

// failOver stops the manager that leads and waits until the other one works.
func (m *managers) failOver(ctx context.Context, first, second *running) (int, error) {
	leader, other := first, second
	if m.leader.Load() == second.number {
		leader, other = second, first
	}
	leader.stop()
	if err := <-leader.ended; err != nil {
		return 0, fmt.Errorf("manager %d: %w", leader.number, err)
	}
	// Something to do, so that it shows.
	work := newWork(m.config("churn-work"))
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(200 * time.Millisecond) {
		select {
		case err := <-other.ended:
			return 0, fmt.Errorf("manager %d ended: %w", other.number, err)
		default:
		}
		if err := work.step(ctx); err != nil {
			return 0, err
		}
		if m.leader.Load() == other.number {
			return 1, nil
		}
	}
	return 0, fmt.Errorf("manager %d does not take over", other.number)
}

// reconciler gives every Widget a ConfigMap with what it wants, and says so in its status.
type reconciler struct {
	client.Client
	managers *managers
	number   int64
}

func (r *reconciler) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	r.managers.reconciled.Add(1)
	r.managers.leader.Store(r.number)
	widget := &unstructured.Unstructured{}
	widget.SetGroupVersionKind(widgetKind)
	if err := r.Get(ctx, request.NamespacedName, widget); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if widget.GetDeletionTimestamp() != nil {
		return ctrl.Result{}, r.release(ctx, widget)
	}
	if controllerutil.AddFinalizer(widget, finalizer) {
		if err := r.Update(ctx, widget); err != nil {
			return again(err)
		}
	}
	color, _, _ := unstructured.NestedString(widget.Object, "spec", "color")
	child := applycorev1.ConfigMap(widget.GetName(), namespace).
		WithOwnerReferences(applymetav1.OwnerReference().WithAPIVersion(widget.GetAPIVersion()).WithKind("Widget").
			WithName(widget.GetName()).WithUID(widget.GetUID()).WithController(true).WithBlockOwnerDeletion(true)).
		WithData(map[string]string{"color": color, "generation": fmt.Sprint(widget.GetGeneration())})
	if err := r.Apply(ctx, child, client.FieldOwner("churn"), client.ForceOwnership); err != nil {
		return again(err)
	}
	status := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": widget.GetAPIVersion(), "kind": "Widget",
		"metadata": map[string]any{"name": widget.GetName(), "namespace": namespace},
		"status":   map[string]any{"observedGeneration": widget.GetGeneration(), "color": color},
	}}
	err := r.Status().Apply(ctx, client.ApplyConfigurationFromUnstructured(status), client.FieldOwner("churn"), client.ForceOwnership)
	return again(err)
}

// again leaves conflicts and objects that went away to the next pass.
func again(err error) (ctrl.Result, error) {
	if apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
		return ctrl.Result{RequeueAfter: 10 * time.Millisecond}, nil
	}
	return ctrl.Result{}, err
}

// release deletes the child by hand, as a finalizer is for, and lets the Widget go.
func (r *reconciler) release(ctx context.Context, widget *unstructured.Unstructured) error {
	if !controllerutil.ContainsFinalizer(widget, finalizer) {
		return nil
	}
	child := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: widget.GetName(), Namespace: namespace}}
	if err := client.IgnoreNotFound(r.Delete(ctx, child)); err != nil {
		return err
	}
	patch := []byte(`{"metadata":{"finalizers":null,"resourceVersion":"` + widget.GetResourceVersion() + `"}}`)
	err := r.Patch(ctx, widget, client.RawPatch(types.MergePatchType, patch))
	if apierrors.IsConflict(err) {
		return nil // its change brings it here again
	}
	return client.IgnoreNotFound(err)
}
