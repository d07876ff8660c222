package main

import (
	"context"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	applycorev1 "k8s.io/client-go/applyconfigurations/core/v1"
	"k8s.io/client-go/kubernetes"
	clientcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
)

// typed is client-go as controllers use it, without its rate limit.
type typed struct {
	configMaps clientcorev1.ConfigMapInterface
}

// payload makes a ConfigMap of about a kilobyte.
var payload = strings.Repeat("0123456789abcdef", 50)

func newTyped(o options) (target, error) {
	config := &rest.Config{
		Host:            o.server,
		BearerToken:     o.token,
		TLSClientConfig: rest.TLSClientConfig{Insecure: true},
		QPS:             -1,
		UserAgent:       "loader",
	}
	clients, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	return typed{clients.CoreV1().ConfigMaps(o.namespace)}, nil
}

func name(number int) string { return fmt.Sprintf("load-%06d", number) }

func (t typed) operation(phase string) operation {
	switch phase {
	case "create":
		return func(ctx context.Context, number int) error {
			object := &corev1.ConfigMap{
				ObjectMeta: metav1.ObjectMeta{Name: name(number), Labels: map[string]string{"app": "load"}},
				Data:       map[string]string{"payload": payload, "step": "create"},
			}
			_, err := t.configMaps.Create(ctx, object, metav1.CreateOptions{})
			return err
		}
	case "get":
		return func(ctx context.Context, number int) error {
			_, err := t.configMaps.Get(ctx, name(number), metav1.GetOptions{})
			return err
		}
	case "patch":
		return func(ctx context.Context, number int) error {
			patch := []byte(`{"data":{"step":"patch"}}`)
			_, err := t.configMaps.Patch(ctx, name(number), types.MergePatchType, patch, metav1.PatchOptions{})
			return err
		}
	case "apply":
		return func(ctx context.Context, number int) error {
			object := applycorev1.ConfigMap(name(number), "").WithData(map[string]string{"step": "apply"})
			object.Namespace = nil
			_, err := t.configMaps.Apply(ctx, object, metav1.ApplyOptions{FieldManager: "applier", Force: true})
			return err
		}
	case "delete":
		return func(ctx context.Context, number int) error {
			return t.configMaps.Delete(ctx, name(number), metav1.DeleteOptions{})
		}
	}
	return nil
}
