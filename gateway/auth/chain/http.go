package chain

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/tidegate/tidegate/gateway/auth"
)

// HTTPOptions say whom to ask.
type HTTPOptions struct {
	URL    string
	Secret func() (string, error) // value of the Authorization header, read for each question; nil: none
	// Connections are kept open, at most so many.
	Connections int
}

// HTTP asks a callback by POST.
type HTTP struct {
	o      HTTPOptions
	client *http.Client
}

// NewHTTP looks at the URL only. It connects to nobody yet.
func NewHTTP(o HTTPOptions) (*HTTP, error) {
	if err := checkURL(o.URL); err != nil {
		return nil, err
	}
	return &HTTP{o: o, client: newClient(o.Connections)}, nil
}

// checkURL is what is wrong with the URL of a server.
func checkURL(text string) error {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return errors.New("not the URL of an HTTP server (it is not shown, as it may hold a password)")
	}
	if u.User != nil {
		return errors.New("a password does not belong into the URL: put it into a file as Basic ..., and name that in secret_file")
	}
	return nil
}

// newClient keeps so many connections open, and goes to nobody else than it is sent to.
func newClient(connections int) *http.Client {
	transport := &http.Transport{
		Proxy: http.ProxyFromEnvironment, MaxIdleConnsPerHost: connections, MaxConnsPerHost: connections, IdleConnTimeout: 90 * time.Second,
		TLSHandshakeTimeout: 10 * time.Second, MaxResponseHeaderBytes: 16 << 10, ForceAttemptHTTP2: true,
	}
	return &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse // what was sent is for nobody else
	}}
}

// Name is part of auth.Provider.
func (h *HTTP) Name() string { return "http" }

// Authenticate is part of auth.Provider.
func (h *HTTP) Authenticate(ctx context.Context, r *auth.Request, _ int64) (auth.Answer, error) {
	text, err := encode(r)
	if err != nil {
		return auth.Answer{}, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, h.o.URL, bytes.NewReader(text))
	if err != nil {
		return auth.Answer{}, errors.New("chain: the callback cannot be asked")
	}
	req.Header.Set("Content-Type", "application/json")
	if h.o.Secret != nil {
		secret, err := h.o.Secret()
		if err != nil {
			return auth.Answer{}, fmt.Errorf("chain: the secret of the callback: %w", err)
		}
		req.Header.Set("Authorization", secret)
	}
	res, err := h.client.Do(req)
	if err != nil {
		return auth.Answer{}, fmt.Errorf("chain: the callback does not answer: %w", unwrapped(err))
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, AnswerBytesMax+1))
	switch {
	case err != nil:
		return auth.Answer{}, fmt.Errorf("chain: the callback breaks off: %w", unwrapped(err))
	case len(body) > AnswerBytesMax:
		return auth.Answer{}, fmt.Errorf("chain: the callback answers with more than %d bytes", AnswerBytesMax)
	case res.StatusCode >= 400 && res.StatusCode < 500 && res.StatusCode != http.StatusRequestTimeout && res.StatusCode != http.StatusTooManyRequests:
		return auth.Answer{}, fmt.Errorf("%w: status %d", errAnswer, res.StatusCode)
	case res.StatusCode != http.StatusOK:
		return auth.Answer{}, fmt.Errorf("chain: the callback answers with status %d", res.StatusCode)
	}
	return decode(body, "http")
}

// unwrapped takes the URL out of an error, which may have a secret in its query.
func unwrapped(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

// Close ends the connections that nobody uses.
func (h *HTTP) Close() { h.client.CloseIdleConnections() }
