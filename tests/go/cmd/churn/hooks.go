package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/webhook"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"
)

// hooks is where the webhooks are served, with a certificate of its own.
type hooks struct {
	port int
	ca   []byte
	dir  string
}

func newHooks() (*hooks, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	port := listener.Addr().(*net.TCPAddr).Port
	if err := listener.Close(); err != nil {
		return nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "churn"},
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(24 * time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "churn")
	if err != nil {
		return nil, err
	}
	h := &hooks{port: port, dir: dir, ca: pemOf("CERTIFICATE", certificate)}
	if err := os.WriteFile(filepath.Join(dir, "tls.crt"), h.ca, 0o600); err != nil {
		return nil, err
	}
	return h, os.WriteFile(filepath.Join(dir, "tls.key"), pemOf("PRIVATE KEY", private), 0o600)
}

func pemOf(kind string, der []byte) []byte {
	var out bytes.Buffer
	_ = pem.Encode(&out, &pem.Block{Type: kind, Bytes: der}) // a buffer takes everything
	return out.Bytes()
}

func (h *hooks) url(path string) string { return fmt.Sprintf("https://127.0.0.1:%d%s", h.port, path) }

func (h *hooks) server() webhook.Server {
	return webhook.NewServer(webhook.Options{Host: "127.0.0.1", Port: h.port, CertDir: h.dir})
}

// wait returns when somebody listens.
func (h *hooks) wait(ctx context.Context) error {
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end) && ctx.Err() == nil; time.Sleep(20 * time.Millisecond) {
		connection, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", h.port))
		if err == nil {
			return connection.Close()
		}
	}
	return fmt.Errorf("the webhooks are not served")
}

// register adds the two webhooks: one fills in a color, the other refuses negative sizes.
func register(server webhook.Server, scheme *runtime.Scheme) {
	decoder := admission.NewDecoder(scheme)
	read := func(request admission.Request) (*unstructured.Unstructured, error) {
		object := &unstructured.Unstructured{}
		return object, decoder.Decode(request, object)
	}
	server.Register("/default", &admission.Webhook{Handler: admission.HandlerFunc(
		func(_ context.Context, request admission.Request) admission.Response {
			object, err := read(request)
			if err != nil {
				return admission.Errored(http.StatusBadRequest, err)
			}
			if color, _, _ := unstructured.NestedString(object.Object, "spec", "color"); color != "" {
				return admission.Allowed("")
			}
			if err := unstructured.SetNestedField(object.Object, "green", "spec", "color"); err != nil {
				return admission.Errored(http.StatusBadRequest, err)
			}
			changed, err := object.MarshalJSON()
			if err != nil {
				return admission.Errored(http.StatusInternalServerError, err)
			}
			return admission.PatchResponseFromRaw(request.Object.Raw, changed)
		})})
	server.Register("/validate", &admission.Webhook{Handler: admission.HandlerFunc(
		func(_ context.Context, request admission.Request) admission.Response {
			object, err := read(request)
			if err != nil {
				return admission.Errored(http.StatusBadRequest, err)
			}
			if size, _, _ := unstructured.NestedInt64(object.Object, "spec", "size"); size < 0 {
				return admission.Denied("widgets have no negative size")
			}
			return admission.Allowed("").WithWarnings("churned")
		})})
}
