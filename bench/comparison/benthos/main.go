// Receives Infobip's WhatsApp reports and stores each in JetStream before it answers: Benthos's HTTP input and an
// output on nats.go.
//
// go build -o receiver .
// NATS_URL=nats://127.0.0.1:4222 PORT=8000 CHANNEL=1001 PASSWORD=secret ./receiver
package main

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	_ "github.com/redpanda-data/benthos/v4/public/components/io"
	"github.com/redpanda-data/benthos/v4/public/service"
)

const (
	bodyLimit    = 960 * 1024
	storeTimeout = 5 * time.Second
	// More than the load has connections, so that the output never waits for a free place.
	inFlightMax = 1024
)

// The input has no path for websockets. Its timeout covers the whole request, so it is longer than the output's.
const input = `
http_server:
  path: /social/on/whatsapp/infobip/report/{channel}
  ws_path: ""
  allowed_verbs: [ POST ]
  timeout: 6s
`

// receiver is the multiplexer that Benthos registers its input in. It authenticates before the input reads the body:
// the input cannot, and Bloblang has no comparison in constant time.
type receiver struct {
	mux       *http.ServeMux
	passwords map[string][]byte
}

func (r *receiver) HandleFunc(pattern string, handler func(http.ResponseWriter, *http.Request)) {
	r.mux.HandleFunc(pattern, func(writer http.ResponseWriter, request *http.Request) {
		password, known := r.passwords[request.PathValue("channel")]
		presented := []byte(request.Header.Get("AccountKey"))
		if !known || subtle.ConstantTimeCompare(password, presented) != 1 {
			writer.WriteHeader(http.StatusUnauthorized)
			return
		}
		if request.ContentLength > bodyLimit {
			writer.WriteHeader(http.StatusRequestEntityTooLarge)
			return
		}
		request.Body = http.MaxBytesReader(writer, request.Body, bodyLimit)
		handler(writer, request)
	})
}

// output stores a message. An error of Write is the input's answer: 502.
type output struct {
	stream jetstream.JetStream
}

func (o *output) Connect(context.Context) error { return nil }

func (o *output) Close(context.Context) error { return nil }

func (o *output) Write(ctx context.Context, message *service.Message) error {
	body, err := message.AsBytes()
	if err != nil {
		return err
	}
	requestPath, found := message.MetaGet("http_server_request_path")
	if !found {
		return fmt.Errorf("missing metadata 'http_server_request_path'")
	}
	channel := path.Base(requestPath)
	digest := sha256.Sum256(body)
	stored := &nats.Msg{Subject: "imchannel.webhook.infobip." + channel, Data: body}
	// The channel is part of the id: two channels may be sent the same body.
	id := channel + "-" + hex.EncodeToString(digest[:])
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	_, err = o.stream.PublishMsg(ctx, stored, jetstream.WithMsgID(id))
	return err
}

func run(ctx context.Context) error {
	client, err := nats.Connect(os.Getenv("NATS_URL"), nats.MaxReconnects(-1))
	if err != nil {
		return fmt.Errorf("cannot connect to NATS: %w", err)
	}
	defer client.Close()
	stream, err := jetstream.New(client)
	if err != nil {
		return err
	}
	environment := service.NewEnvironment()
	construct := func(*service.ParsedConfig, *service.Resources) (service.Output, int, error) {
		return &output{stream}, inFlightMax, nil
	}
	if err := environment.RegisterOutput("stored", service.NewConfigSpec(), construct); err != nil {
		return err
	}
	passwords := map[string][]byte{os.Getenv("CHANNEL"): []byte(os.Getenv("PASSWORD"))}
	endpoints := &receiver{mux: http.NewServeMux(), passwords: passwords}
	pipeline, err := build(environment, endpoints)
	if err != nil {
		return err
	}
	return serve(ctx, pipeline, endpoints.mux)
}

func build(environment *service.Environment, endpoints *receiver) (*service.Stream, error) {
	builder := environment.NewStreamBuilder()
	builder.SetHTTPMux(endpoints)
	for _, set := range []error{
		builder.SetLoggerYAML("level: WARN"),
		builder.SetMetricsYAML("none: {}"),
		builder.AddInputYAML(input),
		builder.AddOutputYAML("stored: {}"),
	} {
		if set != nil {
			return nil, set
		}
	}
	return builder.Build()
}

// serve answers until the context ends or the pipeline fails.
func serve(ctx context.Context, pipeline *service.Stream, handler http.Handler) error {
	listener, err := net.Listen("tcp", "127.0.0.1:"+os.Getenv("PORT"))
	if err != nil {
		return err
	}
	server := &http.Server{Handler: handler}
	failed := make(chan error, 2)
	go func() { failed <- pipeline.Run(ctx) }()
	go func() { failed <- server.Serve(listener) }()
	fmt.Println("ready")
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.Background(), storeTimeout)
	defer cancel()
	return server.Shutdown(grace)
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		log.Fatal(err)
	}
}
