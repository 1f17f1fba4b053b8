package web

// A Route declares what is served at a pattern. The mux enforces its role, and the
// description of the API is made of the rest.
type Route struct {
	Pattern string // as net/http's mux takes it, such as "GET /v1/models/{model}"
	Role    Role   // whoever asks must have it; nobody is let in where there is none
	Summary string // what it does, in a sentence without a full stop
	Query   []Parameter
	Body    any // a value of the type that its JSON has, or a Media; nil for none
	Answer  any // likewise
}

// A Parameter is one of a route's query.
type Parameter struct {
	Name    string
	Summary string
	Value   any // a value of its type; text where there is none
}

// A Media is a body that is not JSON, by its media type.
type Media string

// Queries that many routes take.
var (
	InNamespace = Parameter{Name: "namespace", Summary: "the namespace, default where none is named"}
	AtMost      = Parameter{Name: "limit", Summary: "how many items are answered at most", Value: 0}
)
