module github.com/freshet-io/freshet/libs

go 1.26
