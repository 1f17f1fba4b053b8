module github.com/freshet-io/freshet/examples/flight-delays

go 1.26
