module github.com/freshet-io/freshet/contracts

go 1.26
