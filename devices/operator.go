package devices

// Operator is who takes a device out of use in the place of its user.
type Operator struct {
	// Name is the name of the operator's token.
	Name string
	// RequestID is the request by which they asked.
	RequestID string
}
