package service

import (
	"go.uber.org/fx"
)

// Main is the whole of a service's main function.
func Main[C any](name string, defaults C, module func(C) fx.Option, language Events) {
}
