package gateway

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tidegate/tidegate/bus"
)

// The query service answers backends: whichever gateway gets a question asks the others if it must, and the bucket of presence for
// devices that are offline. No question costs more than its page: live devices are looked for by the loops (live.go), and
// records are read queryRecords at a time.

const (
	queryService = "$TG.service.presence."
	queryControl = "$TG.control."

	// queryLimit is how many clients an answer has unless asked, queryLimitMax at most, queryBytes when it is full.
	queryLimit    = 100
	queryLimitMax = 1000
	queryBytes    = 512 << 10
	// queryRecords is how many records are read for one answer.
	queryRecords = 5000
	// queryTime is how long the gateways have to answer.
	queryTime = 2 * time.Second
)

// presenceQuery is a question.
type presenceQuery struct {
	ClientID string `json:"clientId"`
	Prefix   string `json:"prefix"`
	Online   bool   `json:"online"` // only those that are connected now
	Limit    int    `json:"limit"`
	Cursor   string `json:"cursor"` // of the answer before
	Reason   string `json:"reason"` // for the log
}

// presencePage is an answer to list.
type presencePage struct {
	Clients []json.RawMessage `json:"clients"`
	Cursor  string            `json:"cursor,omitempty"` // ask again with it; without one this was the last page
	cluster
}

// cluster is how many gateways had a part in an answer.
type cluster struct {
	Asked    int `json:"gatewaysAsked,omitempty"`
	Answered int `json:"gatewaysAnswered,omitempty"`
}

// presenceCount is an answer to count.
type presenceCount struct {
	Online   int               `json:"online"`
	Records  uint64            `json:"records"` // clients that have a record, with any prefix, online or not
	Gateways []json.RawMessage `json:"gateways"`
	cluster
}

// presenceExpelled is an answer to disconnect.
type presenceExpelled struct {
	ClientID     string `json:"clientId"`
	Disconnected bool   `json:"disconnected"`
	Gateway      string `json:"gateway,omitempty"` // that it was connected to
	cluster
}

// controlAnswer is what one gateway says to another.
type controlAnswer struct {
	Gateway string            `json:"gateway"`
	Found   bool              `json:"found,omitempty"`
	Count   int               `json:"count,omitempty"`
	IDs     []string          `json:"ids,omitempty"`
	Clients []json.RawMessage `json:"clients,omitempty"`
}

// startQueries begins to answer backends.
func (g *Gateway) startQueries() error {
	q := queries{g}
	return g.bus.Serve(&bus.Service{
		Name: "tidegate", Version: "1.0.0", Description: "who is connected to the gateways",
		Endpoints: []bus.Endpoint{
			{Name: "presence-get", Subject: queryService + "get", Answer: answering(q.get)},
			{Name: "presence-list", Subject: queryService + "list", Answer: answering(q.list)},
			{Name: "presence-count", Subject: queryService + "count", Answer: answering(q.count)},
			{Name: "presence-disconnect", Subject: queryService + "disconnect", Answer: answering(q.disconnect)},
		},
		Together: []bus.Endpoint{
			{Subject: queryControl + "list", Answer: answering(q.listHere)},
			{Subject: queryControl + "disconnect", Answer: answering(q.disconnectHere)},
		},
	})
}

// queries answers. Safe from any goroutine but a loop's.
type queries struct{ g *Gateway }

// answering makes an answer to JSON of one to a question; an empty question asks for everything.
func answering(answer func(q *presenceQuery) (any, *bus.ServiceError)) func([]byte) ([]byte, *bus.ServiceError) {
	return func(p []byte) ([]byte, *bus.ServiceError) {
		q := presenceQuery{}
		if len(p) > 0 {
			if err := json.Unmarshal(p, &q); err != nil {
				return nil, &bus.ServiceError{Code: "400", Text: `the question is not a JSON object such as {"clientId":"d1"}: ` + err.Error()}
			}
		}
		q.Limit = min(max(0, cmp.Or(q.Limit, queryLimit)), queryLimitMax)
		v, wrong := answer(&q)
		if wrong != nil {
			return nil, wrong
		}
		reply, err := json.Marshal(v)
		if err != nil {
			return nil, failed(err)
		}
		return reply, nil
	}
}

func failed(err error) *bus.ServiceError { return &bus.ServiceError{Code: "503", Text: err.Error()} }

var noClient = &bus.ServiceError{Code: "400", Text: `the question names no client: {"clientId":"d1"}`}

// get answers with the record of one client.
func (x queries) get(q *presenceQuery) (any, *bus.ServiceError) {
	if q.ClientID == "" {
		return nil, noClient
	}
	ctx, cancel := context.WithTimeout(context.Background(), queryTime)
	defer cancel()
	r, ok, err := x.g.presence.Lookup(ctx, q.ClientID)
	switch {
	case err != nil:
		return nil, failed(err)
	case !ok:
		return nil, &bus.ServiceError{Code: "404", Text: "there is no record of this client"}
	}
	return json.RawMessage(r.JSON), nil
}

// list answers with a page of clients: those that are connected in the order of their ids, or all in the order in which they changed.
func (x queries) list(q *presenceQuery) (any, *bus.ServiceError) {
	if q.Online {
		return x.listLive(q)
	}
	from, err := strconv.ParseUint(cmp.Or(q.Cursor, "1"), 10, 64)
	if err != nil {
		return nil, &bus.ServiceError{Code: "400", Text: "the cursor is not of an answer to the same question"}
	}
	ctx, cancel := context.WithTimeout(context.Background(), queryTime)
	defer cancel()
	page, bytes := &presencePage{Clients: []json.RawMessage{}}, 0
	next, err := x.g.presence.Page(ctx, from, queryRecords, func(r bus.PresenceRecord) bool {
		if strings.HasPrefix(r.Client, q.Prefix) {
			page.Clients = append(page.Clients, r.JSON)
			bytes += len(r.JSON)
		}
		return len(page.Clients) < q.Limit && bytes < queryBytes
	})
	if err != nil {
		return nil, failed(err)
	}
	if next != 0 {
		page.Cursor = strconv.FormatUint(next, 10)
	}
	return page, nil
}

// listLive asks all gateways for their first clients behind the cursor; the first of these all are the page.
func (x queries) listLive(q *presenceQuery) (any, *bus.ServiceError) {
	type client struct {
		id    string
		state json.RawMessage
	}
	var all []client
	page := &presencePage{Clients: []json.RawMessage{}}
	question, _ := json.Marshal(q)
	wrong := x.askAll("list", question, &page.cluster, func(a *controlAnswer) bool {
		for i := range min(len(a.IDs), len(a.Clients)) {
			all = append(all, client{a.IDs[i], a.Clients[i]})
		}
		return true
	})
	if wrong != nil {
		return nil, wrong
	}
	slices.SortFunc(all, func(a, b client) int { return strings.Compare(a.id, b.id) })
	bytes, last := 0, ""
	for _, c := range all {
		switch {
		case c.id == last && last != "": // it is moving from one gateway to the other
			continue
		case len(page.Clients) == q.Limit || bytes > queryBytes:
			page.Cursor = last
			return page, nil
		}
		page.Clients = append(page.Clients, c.state)
		bytes += len(c.state)
		last = c.id
	}
	if len(page.Clients) == q.Limit {
		page.Cursor = last
	}
	return page, nil
}

// listHere is this gateway's part in it, and in count: with a limit below 0 it only counts.
func (x queries) listHere(q *presenceQuery) (any, *bus.ServiceError) {
	found, ok := x.g.live(liveQuery{prefix: q.Prefix, after: q.Cursor, most: q.Limit})
	if !ok {
		return nil, &bus.ServiceError{Code: "503", Text: "the gateway stops"}
	}
	a := &controlAnswer{Gateway: x.g.cfg.Node, Count: found.count}
	bytes := 0
	for _, c := range found.clients {
		if bytes += len(c.id) + len(c.state); bytes > queryBytes && len(a.IDs) > 0 {
			break
		}
		a.IDs, a.Clients = append(a.IDs, c.id), append(a.Clients, c.state)
	}
	return a, nil
}

// count answers how many clients are connected now, by the gateways' own reckoning.
func (x queries) count(q *presenceQuery) (any, *bus.ServiceError) {
	n := &presenceCount{Gateways: []json.RawMessage{}}
	question, _ := json.Marshal(presenceQuery{Prefix: q.Prefix, Limit: -1})
	if wrong := x.askAll("list", question, &n.cluster, func(a *controlAnswer) bool {
		n.Online += a.Count
		return true
	}); wrong != nil {
		return nil, wrong
	}
	ctx, cancel := context.WithTimeout(context.Background(), queryTime)
	defer cancel()
	var err error
	n.Records, err = x.g.presence.Gateways(ctx, func(lease []byte) { n.Gateways = append(n.Gateways, lease) })
	if err != nil {
		return nil, failed(err)
	}
	return n, nil
}

// disconnect ends the connection of a client, wherever it is.
func (x queries) disconnect(q *presenceQuery) (any, *bus.ServiceError) {
	if q.ClientID == "" {
		return nil, noClient
	}
	a := &presenceExpelled{ClientID: q.ClientID}
	question, _ := json.Marshal(q)
	wrong := x.askAll("disconnect", question, &a.cluster, func(c *controlAnswer) bool {
		if c.Found {
			a.Disconnected, a.Gateway = true, c.Gateway
		}
		return !c.Found
	})
	if wrong != nil {
		return nil, wrong
	}
	return a, nil
}

// disconnectHere is this gateway's part in it.
func (x queries) disconnectHere(q *presenceQuery) (any, *bus.ServiceError) {
	found := x.g.expel(q.ClientID)
	x.g.log.Debug().Str("client", q.ClientID).Str("reason", q.Reason).Bool("found", found).Msg("a backend has a client disconnected")
	return &controlAnswer{Gateway: x.g.cfg.Node, Found: found}, nil
}

// askAll asks every gateway, this one too; each is called with an answer until it returns false.
func (x queries) askAll(what string, question []byte, c *cluster, each func(a *controlAnswer) bool) *bus.ServiceError {
	c.Asked = x.g.claims.peers() + 1
	came, err := x.g.bus.AskAll(queryControl+what, question, c.Asked, queryTime, func(p []byte) bool {
		var a controlAnswer
		return json.Unmarshal(p, &a) != nil || each(&a)
	})
	c.Answered = came
	if err != nil {
		return failed(err)
	}
	return nil
}
