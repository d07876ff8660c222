// crictl asks the node's container runtime what it runs: the few questions of
// the well-known tool of this name that tests and people at a node ask.
// (The tool itself cannot be had as a Go module where these images are built.)
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

const usage = `usage: crictl [-r ENDPOINT] ps [-a] [-q] [--name NAME] [-o json]
       crictl [-r ENDPOINT] pods [-q] [-o json]
       crictl [-r ENDPOINT] images [-q] [-o json]
       crictl [-r ENDPOINT] info
       crictl [-r ENDPOINT] inspect ID
       crictl [-r ENDPOINT] logs ID
       crictl [-r ENDPOINT] stop ID
       crictl [-r ENDPOINT] rm ID`

const timeout = 10 * time.Second

type client struct {
	runtime runtime.RuntimeServiceClient
	images  runtime.ImageServiceClient
	out     io.Writer
}

type options struct {
	all, quiet bool
	name       string
	json       bool
	rest       []string
}

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintf(os.Stderr, "crictl: %v\n", err)
		os.Exit(1)
	}
}

func run(args []string, out io.Writer) error {
	global := flag.NewFlagSet("crictl", flag.ContinueOnError)
	endpoint := global.String("r", "unix:///run/containerd/containerd.sock", "endpoint of the runtime")
	global.StringVar(endpoint, "runtime-endpoint", *endpoint, "endpoint of the runtime")
	if err := global.Parse(args); err != nil {
		return err
	}
	if global.NArg() == 0 {
		return errors.New(usage)
	}
	command, opts, err := parse(global.Args())
	if err != nil {
		return err
	}
	connection, err := grpc.NewClient(*endpoint, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer connection.Close()
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	c := client{runtime.NewRuntimeServiceClient(connection), runtime.NewImageServiceClient(connection), out}
	return c.do(ctx, command, opts)
}

func parse(args []string) (string, options, error) {
	opts := options{}
	flags := flag.NewFlagSet(args[0], flag.ContinueOnError)
	flags.BoolVar(&opts.all, "a", false, "containers that have ended, too")
	flags.BoolVar(&opts.quiet, "q", false, "identifiers only")
	flags.StringVar(&opts.name, "name", "", "containers of this name")
	output := flags.String("o", "table", "table or json")
	if err := flags.Parse(args[1:]); err != nil {
		return "", opts, err
	}
	opts.json, opts.rest = *output == "json", flags.Args()
	return args[0], opts, nil
}

func (c client) do(ctx context.Context, command string, opts options) error {
	switch command {
	case "ps":
		return c.ps(ctx, opts)
	case "pods":
		return c.pods(ctx, opts)
	case "images":
		return c.listImages(ctx, opts)
	case "info":
		return c.info(ctx)
	case "inspect", "logs", "stop", "rm":
		if len(opts.rest) != 1 {
			return fmt.Errorf("%s needs the identifier of one container, as printed by ps -a", command)
		}
		return c.one(ctx, command, opts.rest[0])
	default:
		return fmt.Errorf("unknown command %q\n%s", command, usage)
	}
}

func (c client) ps(ctx context.Context, opts options) error {
	filter := &runtime.ContainerFilter{}
	if !opts.all {
		filter.State = &runtime.ContainerStateValue{State: runtime.ContainerState_CONTAINER_RUNNING}
	}
	list, err := c.runtime.ListContainers(ctx, &runtime.ListContainersRequest{Filter: filter})
	if err != nil {
		return err
	}
	var kept []*runtime.Container
	for _, container := range list.Containers {
		if strings.Contains(container.Metadata.Name, opts.name) {
			kept = append(kept, container)
		}
	}
	list.Containers = kept
	if opts.json {
		return c.json(list)
	}
	rows := [][]string{{"CONTAINER", "CREATED", "STATE", "NAME", "ATTEMPT", "POD"}}
	for _, container := range list.Containers {
		rows = append(rows, []string{
			short(container.Id), age(container.CreatedAt), state(container.State.String(), "CONTAINER_"),
			container.Metadata.Name, fmt.Sprint(container.Metadata.Attempt),
			container.Labels["io.kubernetes.pod.namespace"] + "/" + container.Labels["io.kubernetes.pod.name"],
		})
	}
	return c.table(rows, opts.quiet)
}

func (c client) pods(ctx context.Context, opts options) error {
	list, err := c.runtime.ListPodSandbox(ctx, &runtime.ListPodSandboxRequest{})
	if err != nil {
		return err
	}
	if opts.json {
		return c.json(list)
	}
	rows := [][]string{{"POD ID", "CREATED", "STATE", "NAME", "NAMESPACE", "ATTEMPT"}}
	for _, pod := range list.Items {
		rows = append(rows, []string{
			short(pod.Id), age(pod.CreatedAt), state(pod.State.String(), "SANDBOX_"),
			pod.Metadata.Name, pod.Metadata.Namespace, fmt.Sprint(pod.Metadata.Attempt),
		})
	}
	return c.table(rows, opts.quiet)
}

func (c client) listImages(ctx context.Context, opts options) error {
	list, err := c.images.ListImages(ctx, &runtime.ListImagesRequest{})
	if err != nil {
		return err
	}
	if opts.json {
		return c.json(list)
	}
	rows := [][]string{{"IMAGE ID", "SIZE", "NAME"}}
	for _, image := range list.Images {
		rows = append(rows, []string{
			short(strings.TrimPrefix(image.Id, "sha256:")), fmt.Sprintf("%d MB", image.Size/1_000_000),
			strings.Join(image.RepoTags, " "),
		})
	}
	return c.table(rows, opts.quiet)
}

func (c client) info(ctx context.Context) error {
	status, err := c.runtime.Status(ctx, &runtime.StatusRequest{Verbose: true})
	if err != nil {
		return err
	}
	return c.json(status)
}

func (c client) one(ctx context.Context, command, prefix string) error {
	id, err := c.find(ctx, prefix)
	if err != nil {
		return err
	}
	switch command {
	case "stop":
		_, err = c.runtime.StopContainer(ctx, &runtime.StopContainerRequest{ContainerId: id, Timeout: 5})
		return err
	case "rm":
		_, err = c.runtime.RemoveContainer(ctx, &runtime.RemoveContainerRequest{ContainerId: id})
		return err
	}
	answer, err := c.runtime.ContainerStatus(ctx, &runtime.ContainerStatusRequest{ContainerId: id})
	if err != nil {
		return err
	}
	if command == "inspect" {
		return c.json(answer)
	}
	log, err := os.Open(answer.Status.LogPath)
	if err != nil {
		return err
	}
	defer log.Close()
	_, err = io.Copy(c.out, log)
	return err
}

// find resolves a shortened identifier.
func (c client) find(ctx context.Context, prefix string) (string, error) {
	list, err := c.runtime.ListContainers(ctx, &runtime.ListContainersRequest{})
	if err != nil {
		return "", err
	}
	var found []string
	for _, container := range list.Containers {
		if strings.HasPrefix(container.Id, prefix) {
			found = append(found, container.Id)
		}
	}
	if len(found) != 1 {
		return "", fmt.Errorf("%d containers have an identifier that begins with %q", len(found), prefix)
	}
	return found[0], nil
}

func (c client) json(message proto.Message) error {
	text, err := protojson.MarshalOptions{Multiline: true, EmitUnpopulated: true}.Marshal(message)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(c.out, "%s\n", text)
	return err
}

// table prints rows, the first being the header; with quiet, the first column without it.
func (c client) table(rows [][]string, quiet bool) error {
	if quiet {
		for _, row := range rows[1:] {
			if _, err := fmt.Fprintln(c.out, row[0]); err != nil {
				return err
			}
		}
		return nil
	}
	writer := tabwriter.NewWriter(c.out, 0, 0, 3, ' ', 0)
	for _, row := range rows {
		if _, err := fmt.Fprintln(writer, strings.Join(row, "\t")); err != nil {
			return err
		}
	}
	return writer.Flush()
}

func short(id string) string { return id[:min(13, len(id))] }

func age(nanoseconds int64) string {
	return time.Since(time.Unix(0, nanoseconds)).Round(time.Second).String() + " ago"
}

func state(name, prefix string) string {
	return strings.ToLower(strings.TrimPrefix(name, prefix))
}
