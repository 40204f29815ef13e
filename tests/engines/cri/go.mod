module github.com/vsrun/vsrun/tests/engines/cri

go 1.26

require (
	golang.org/x/net v0.41.0
	google.golang.org/grpc v1.75.0
	k8s.io/cri-api v0.34.1
)

require (
	golang.org/x/sys v0.33.0 // indirect
	golang.org/x/text v0.26.0 // indirect
	google.golang.org/genproto/googleapis/rpc v0.0.0-20250707201910-8d1bb00bc6a7 // indirect
	google.golang.org/protobuf v1.36.6 // indirect
)
