//go:build !faults

package fault

// On tells a test build from the product.
const On = false

// At does nothing in the product, where nobody calls it.
func At(Point) bool { return false }
