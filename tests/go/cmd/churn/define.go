package main

import (
	"context"
	"fmt"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiextensions "k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

const namespace = "churn"

var (
	widgets    = schema.GroupVersionResource{Group: "churn.example.dev", Version: "v1", Resource: "widgets"}
	widgetKind = schema.GroupVersionKind{Group: "churn.example.dev", Version: "v1", Kind: "Widget"}
	widgetList = schema.GroupVersionKind{Group: "churn.example.dev", Version: "v1", Kind: "WidgetList"}
)

// define makes the namespace, the kind Widget and the webhooks, through the typed clients and their protobuf.
func define(ctx context.Context, config *rest.Config, hooks *hooks) error {
	core, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	extensions, err := apiextensions.NewForConfig(config)
	if err != nil {
		return err
	}
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}
	if _, err := core.CoreV1().Namespaces().Create(ctx, ns, metav1.CreateOptions{}); err != nil {
		return err
	}
	definitions := extensions.ApiextensionsV1().CustomResourceDefinitions()
	created, err := definitions.Create(ctx, definition(), metav1.CreateOptions{})
	if err != nil {
		return err
	}
	err = wait.PollUntilContextTimeout(ctx, 50*time.Millisecond, 30*time.Second, true, func(ctx context.Context) (bool, error) {
		found, err := definitions.Get(ctx, created.Name, metav1.GetOptions{})
		if err != nil {
			return false, err
		}
		for _, condition := range found.Status.Conditions {
			if condition.Type == apiextensionsv1.Established && condition.Status == apiextensionsv1.ConditionTrue {
				return true, nil
			}
		}
		return false, nil
	})
	if err != nil {
		return fmt.Errorf("the kind is not established: %w", err)
	}
	admission := core.AdmissionregistrationV1()
	client := func(path string) admissionv1.WebhookClientConfig {
		url := hooks.url(path)
		return admissionv1.WebhookClientConfig{URL: &url, CABundle: hooks.ca}
	}
	mutating := &admissionv1.MutatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: "churn"}}
	mutating.Webhooks = []admissionv1.MutatingWebhook{{
		Name: "default.churn.example.dev", ClientConfig: client("/default"), Rules: rules(), FailurePolicy: fail(),
		SideEffects: none(), AdmissionReviewVersions: []string{"v1"},
	}}
	if _, err := admission.MutatingWebhookConfigurations().Create(ctx, mutating, metav1.CreateOptions{}); err != nil {
		return err
	}
	validating := &admissionv1.ValidatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: "churn"}}
	validating.Webhooks = []admissionv1.ValidatingWebhook{{
		Name: "validate.churn.example.dev", ClientConfig: client("/validate"), Rules: rules(), FailurePolicy: fail(),
		SideEffects: none(), AdmissionReviewVersions: []string{"v1"},
	}}
	_, err = admission.ValidatingWebhookConfigurations().Create(ctx, validating, metav1.CreateOptions{})
	return err
}

func rules() []admissionv1.RuleWithOperations {
	return []admissionv1.RuleWithOperations{{
		Operations: []admissionv1.OperationType{admissionv1.Create, admissionv1.Update},
		Rule:       admissionv1.Rule{APIGroups: []string{widgets.Group}, APIVersions: []string{"v1"}, Resources: []string{"widgets"}},
	}}
}

func fail() *admissionv1.FailurePolicyType { return ptr(admissionv1.Fail) }

func none() *admissionv1.SideEffectClass { return ptr(admissionv1.SideEffectClassNone) }

func ptr[T any](value T) *T { return &value }

func definition() *apiextensionsv1.CustomResourceDefinition {
	object := func(properties map[string]apiextensionsv1.JSONSchemaProps) apiextensionsv1.JSONSchemaProps {
		return apiextensionsv1.JSONSchemaProps{Type: "object", Properties: properties}
	}
	spec := object(map[string]apiextensionsv1.JSONSchemaProps{
		"size":  {Type: "integer", Format: "int64"},
		"color": {Type: "string"},
		"step":  {Type: "integer", Format: "int64", Default: &apiextensionsv1.JSON{Raw: []byte("1")}},
	})
	status := object(map[string]apiextensionsv1.JSONSchemaProps{
		"observedGeneration": {Type: "integer", Format: "int64"},
		"color":              {Type: "string"},
	})
	schema := object(map[string]apiextensionsv1.JSONSchemaProps{"spec": spec, "status": status})
	return &apiextensionsv1.CustomResourceDefinition{
		ObjectMeta: metav1.ObjectMeta{Name: widgets.Resource + "." + widgets.Group},
		Spec: apiextensionsv1.CustomResourceDefinitionSpec{
			Group: widgets.Group, Scope: apiextensionsv1.NamespaceScoped,
			Names: apiextensionsv1.CustomResourceDefinitionNames{Plural: "widgets", Singular: "widget", Kind: "Widget", ListKind: "WidgetList"},
			Versions: []apiextensionsv1.CustomResourceDefinitionVersion{{
				Name: "v1", Served: true, Storage: true,
				Schema:       &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: &schema},
				Subresources: &apiextensionsv1.CustomResourceSubresources{Status: &apiextensionsv1.CustomResourceSubresourceStatus{}},
			}},
		},
	}
}
